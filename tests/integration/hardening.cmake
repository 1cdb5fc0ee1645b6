if(NOT TT_SANITIZE) # a sanitizer's run-time has to be the first library
  add_library(probe_rights MODULE probe_rights.c)
  target_link_libraries(probe_rights PRIVATE tt_flags ${CMAKE_DL_LIBS})
endif()
