# traintoken as a container image, for stations that run everything in containers: the program and the libraries that it
# needs, nothing else. docs/station-operators.md says how it is run; compose.yaml is an example.
#
#   docker build -t traintoken .
#
# BASE_IMAGE is any Debian 12 or 13; both stages start from it.
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS build
WORKDIR /source
COPY scripts/install-packages scripts/
RUN scripts/install-packages --build && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cmake --preset release -DBUILD_TESTING=OFF && \
    cmake --build --preset release --target traintoken && \
    install -D -s build-release/src/cli/traintoken /result/usr/bin/traintoken && \
    install -D -m 644 LICENSE /result/usr/share/doc/traintoken/copyright && \
    scripts/runtime-packages /result/usr/bin/traintoken >/result/usr/share/doc/traintoken/packages

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title=traintoken org.opencontainers.image.licenses=MIT
ARG TRAINTOKEN_UID=10815
COPY --from=build /result /
# p11-kit-modules has the module that reaches a token on the host; ca-certificates is for an engine behind TLS.
RUN apt-get -qq update && \
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends \
        p11-kit-modules ca-certificates $(cat /usr/share/doc/traintoken/packages) >/dev/null && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log /var/cache/ldconfig && \
    useradd --uid "$TRAINTOKEN_UID" --user-group --no-create-home --home-dir /var/lib/traintoken \
        --shell /usr/sbin/nologin --no-log-init traintoken && \
    install -d -m 700 -o traintoken -g traintoken /var/lib/traintoken

# The token is the host's, behind a p11-kit socket that is mounted here. A PIN that is mounted as the file
# /run/secrets/traintoken-pin is found there. The state folder has to outlive the container: mount a volume on it.
ENV TRAINTOKEN_MODULE=p11-kit-client \
    P11_KIT_SERVER_ADDRESS=unix:path=/run/p11-kit/pkcs11 \
    CREDENTIALS_DIRECTORY=/run/secrets \
    TRAINTOKEN_STATE=/var/lib/traintoken \
    LANG=C.UTF-8
USER traintoken
WORKDIR /var/lib/traintoken
ENTRYPOINT ["traintoken"]
CMD ["--help"]
