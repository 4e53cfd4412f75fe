# Fails when one of LIBRARIES exports a symbol that is not of namespace tare (cmake/exports.map).
foreach(library IN LISTS LIBRARIES)
  execute_process(COMMAND ${NM} --dynamic --defined-only --format=posix ${library} OUTPUT_VARIABLE symbols
                  COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]+\n" symbols "${symbols}")
  list(LENGTH symbols count)
  list(FILTER symbols EXCLUDE REGEX "^_Z[A-Za-z0-9_]*N?K?4tare")
  if(symbols OR count EQUAL 0)
    message(FATAL_ERROR "${library} exports ${count} symbols; not of namespace tare:\n${symbols}")
  endif()
endforeach()
