tt_fuzz_target(docker_output KNOWS image)
