tt_fuzz_target(oci_index KNOWS image json)
tt_fuzz_target(oci_layout KNOWS image json)
target_sources(fuzz_oci_layout PRIVATE fuzz_folder.c)
tt_fuzz_target(image_settings KNOWS image json crypto)
tt_fuzz_target(docker_engine KNOWS image json)
target_sources(fuzz_docker_engine PRIVATE docker_replies.c)
foreach(call IN ITEMS http_new http_free http_name http_call http_download http_download_read http_download_free http_upload
                      http_upload_write http_upload_finish http_upload_free interrupt_pause)
  target_link_options(fuzz_docker_engine PRIVATE "LINKER:--wrap=tt_${call}")
endforeach()
if(TT_FUZZ)
  # An input is read in many ways: each of them once more without memory, not a dozen times.
  target_compile_definitions(fuzz_docker_engine PRIVATE FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION)
endif()
