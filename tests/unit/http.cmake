tt_unit_test(http SOURCES http_server.c KNOWS image base)


