# cmake -D NM=<nm> -D LIBRARY=<archive> -P no_python.cmake: fails if the library needs or has a
# symbol of Python's C API.
execute_process(COMMAND "${NM}" "${LIBRARY}"
  OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[A-Za-z] _?Py[A-Z_][A-Za-z0-9_]*" found "${symbols}")
if(NOT symbols MATCHES "epoll")
  message(FATAL_ERROR "${LIBRARY} has no symbol of this library: is it the right file?")
endif()
if(found)
  message(FATAL_ERROR "${LIBRARY} knows Python: ${found}")
endif()
