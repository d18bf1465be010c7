"""Takes the shared libraries out of downloaded wheels, into one folder.

    unpack_libraries.py WHEELS FOLDER

ONNX Runtime looks for its providers beside its own library, and the loader finds the rest of them there too.
"""

import fnmatch
import shutil
import sys
import zipfile
from pathlib import Path, PurePosixPath

LEFT_OUT = [
    # TensorRT is not used; the others are compilers and wrappers for programs of other kinds.
    "*tensorrt*",
    "onnxruntime_pybind11_state*",
    "libnvblas*",
    "*.alt.so.*",
    # OpenVINO for other devices than CPUs, its interface for C, and second names of the same libraries.
    "libopenvino_intel_[gn]pu_plugin.so",
    "libopenvino_c.so*",
    "libopenvino*.so.20*",
    "libopenvino.so",
    "libopenvino_onnx_frontend.so",
]


def libraries(archive):
    """Members that are wanted."""
    for name in archive.namelist():
        base = PurePosixPath(name).name
        if ".so" in base and not any(fnmatch.fnmatchcase(base, pattern) for pattern in LEFT_OUT):
            yield name, base


def main():
    """Command line."""
    wheels, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True)
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name, base in libraries(archive):
                # Its version is in the list of wheels; the worker asks for the plain name.
                target = folder / ("libonnxruntime.so" if base.startswith("libonnxruntime.so.") else base)
                with archive.open(name) as source, open(target, "xb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)


if __name__ == "__main__":
    main()
