# To be sourced. use_apt_lists FOLDER ENTRY ...: has apt work with lists of our own in that folder, and
# leaves those of the system alone. An entry is "deb SUITE" or "deb-src SUITE", of the mirror of Debian
# that the system uses.
use_apt_lists() {
    local folder=$1 mirror entry
    shift
    mirror=$(APT_CONFIG='' apt-get indextargets --format '$(SITE)' \
        'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
    [ -n "$mirror" ] ||
        { echo "error: the sources of apt have no mirror of Debian" >&2; return 1; }
    mkdir -p "$folder"/{lists,archives}/partial
    for entry in "$@"; do
        echo "${entry% *} [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
            "$mirror ${entry#* } main"
    done >"$folder/sources.list"
    export APT_CONFIG=$folder/apt.conf
    cat >"$APT_CONFIG" <<EOF
Dir::Etc::sourcelist "$folder/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$folder/lists";
Dir::Cache "$folder";
Acquire::Languages "none";
APT::Sandbox::User "";
EOF
    apt-get update -q
}
