if(NOT TT_SANITIZE) # a sanitizer's run-time would have to be in the program that uses the library
  add_test(NAME integration.library
           COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/library_test.sh" "${CMAKE_BINARY_DIR}" "${CMAKE_C_COMPILER}")
  set_tests_properties(integration.library PROPERTIES LABELS integration TIMEOUT 300)
endif()
