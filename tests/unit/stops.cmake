# Opening and committing images, threads and the station's memory fail when a test says so.
tt_unit_test(stops SOURCES tar_bytes.c layout_bytes.c vector_key.c run_command.c KNOWS protocol image archive json crypto)
target_link_options(test_stops PRIVATE -Wl,--wrap=pthread_create,--wrap=tt_image_open,--wrap=tt_image_change_commit
                    -Wl,--wrap=tt_state_write)
