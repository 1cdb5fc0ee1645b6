tt_fuzz_target(docker_output KNOWS image)
tt_fuzz_target(docker_saved KNOWS protocol image archive crypto)
