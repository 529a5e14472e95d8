# What every target of this project is compiled with; nothing of it reaches the users of epoll::core.
function(pyepoll_compile_options target)
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wconversion -Wshadow -Wold-style-cast -Woverloaded-virtual)
  # Debug builds also check what the standard library takes for granted: indices, empty optionals.
  target_compile_definitions(${target} PRIVATE $<$<CONFIG:Debug>:_GLIBCXX_ASSERTIONS>)
  if(PYEPOLL_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(PYEPOLL_SANITIZE)
    # vptr opens a pipe to look at memory, and some tests have used up all descriptors.
    target_compile_options(${target} PRIVATE
      -fsanitize=${PYEPOLL_SANITIZE} -fno-sanitize=vptr
      -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(${target} PRIVATE -fsanitize=${PYEPOLL_SANITIZE})
  endif()
endfunction()
