# The indexer: one program, and no model. Build it from the root of the repository:
#   docker build --file deploy/images/indexer.Dockerfile --tag ebb/indexer:0.1.0 .
# Base images by digest, so that a build today and one in a year are the same; another base is another argument.
ARG RUST=rust:1.95.0-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1
ARG DEBIAN=debian:bookworm-20260824-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171

# The compiler runs as a program of the machine that builds, for whatever platform the image is: under emulation it would take
# hours. Only where the two differ, the linker and the C library of the other one are installed.
FROM --platform=$BUILDPLATFORM ${RUST} AS build
ARG BUILDARCH
ARG TARGETARCH
WORKDIR /build
# Of the release of Debian that the base names by its digest.
# hadolint ignore=DL3008
RUN case "$TARGETARCH" in \
        amd64) echo x86_64 >cpu ;; \
        arm64) echo aarch64 >cpu ;; \
        *) echo "no image for $TARGETARCH" >&2; exit 1 ;; \
    esac \
    && rustup target add "$(cat cpu)-unknown-linux-gnu" \
    && if [ "$BUILDARCH" != "$TARGETARCH" ]; then \
        apt-get update \
        && apt-get install --yes --no-install-recommends "g++-$(tr _ - <cpu)-linux-gnu" "libc6-dev-$TARGETARCH-cross" \
        && rm -rf /var/lib/apt/lists/*; \
    fi
WORKDIR /src
COPY . .
# The cache holds what was compiled before; nothing of it gets into the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cpu=$(cat /build/cpu) \
    && export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=x86_64-linux-gnu-gcc \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    && cargo build --release --locked --package indexer --bin indexer --target "$cpu-unknown-linux-gnu" \
    && install -D "target/$cpu-unknown-linux-gnu/release/indexer" /out/indexer

FROM ${DEBIAN}
# Authorities of certificates, for object stores and servers that speak TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/indexer /usr/local/bin/
ENV NVIDIA_VISIBLE_DEVICES=void
USER 65532:65532
ENTRYPOINT ["indexer"]
CMD ["--help"]
