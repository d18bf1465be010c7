# The indexer: one program, and no model. Build it from the root of the repository:
#   docker build --file deploy/images/indexer.Dockerfile --tag ebb/indexer:0.1.0 .
# Base images by digest, so that a build today and one in a year are the same; another base is another argument.
ARG RUST=rust:1.95.0-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1
ARG DEBIAN=debian:bookworm-20260824-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171

FROM ${RUST} AS build
WORKDIR /src
COPY . .
# The cache holds what was compiled before; nothing of it gets into the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package indexer --bin indexer \
    && install -D target/release/indexer /out/indexer

FROM ${DEBIAN}
# Authorities of certificates, for object stores and servers that speak TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/indexer /usr/local/bin/
ENV NVIDIA_VISIBLE_DEVICES=void
USER 65532:65532
ENTRYPOINT ["indexer"]
CMD ["--help"]
