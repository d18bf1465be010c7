# The worker for GPUs with CUDA 13, on x86-64, from a plain base: an image of CUDA would ask for all GPUs of its node.
#   docker build --file deploy/images/worker-cuda.Dockerfile --tag ebb/worker-cuda:0.1.0 .
# The driver, from 580 on, comes from the node.
# Base images by digest, so that a build today and one in a year are the same; another base is another argument.
ARG RUST=rust:1.95.0-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1
ARG PYTHON=python:3.12.12-slim-bookworm@sha256:593bd06efe90efa80dc4eee3948be7c0fde4134606dd40d8dd8dbcade98e669c
ARG DEBIAN=debian:bookworm-20260824-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171

FROM ${RUST} AS build
WORKDIR /src
COPY . .
# The cache holds what was compiled before; nothing of it gets into the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package worker --bin worker \
    && install -D target/release/worker /out/worker

# ONNX Runtime with its CUDA provider, and the parts of CUDA and cuDNN that it loads.
FROM ${PYTHON} AS runtime
WORKDIR /runtime
COPY deploy/images/cuda.txt deploy/images/unpack_libraries.py ./
RUN pip download --no-cache-dir --no-deps --require-hashes --only-binary :all: --requirement cuda.txt --dest wheels \
    && python unpack_libraries.py wheels /out

FROM ${DEBIAN}
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=runtime /out/ /opt/ebb/lib/
COPY --from=build /out/worker /usr/local/bin/
# NVIDIA_VISIBLE_DEVICES is the device plugin's to set.
ENV ORT_DYLIB_PATH=/opt/ebb/lib/libonnxruntime.so \
    LD_LIBRARY_PATH=/opt/ebb/lib \
    EBB_PROVIDER=cuda \
    ORT_DISABLE_TELEMETRY=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 65532:65532
EXPOSE 9090
ENTRYPOINT ["worker"]
CMD ["run"]
