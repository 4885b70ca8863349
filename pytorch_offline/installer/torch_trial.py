"""Let torch show what it can do: run under the destination's own interpreter, in a process that may die.

Every step is announced before it is tried and told when it is done, each as one line of JSON behind a record separator
(RFC 7464), so that of a process that was killed it is known where that was. Any torch from 0.4 on: what a release does
not have yet is not asked. Inputs are small whole numbers, so that every right answer is exact on every device, with
TF32 too (whole numbers up to 2048 have room in its 10 bits).
"""

import ctypes
import json
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Sequence, Tuple

RECORD_SEPARATOR = "\x1e"
# What of a message is passed on: import errors of C++ can be very long, and their beginning and end tell.
MESSAGE_LENGTH = 4000
SIDE = 64  # of the matrices: more than one tile of any kernel
THREADED_SIDE = 256  # large enough for MKL and OpenMP to share the work between threads
TOLERANCE = 1e-3
# Libraries whose place tells whether something of the machine was loaded in the stead of what was installed.
TELLING_LIBRARIES: Tuple[str, ...] = (
    *("libcuda.", "libcudart", "libcudnn", "libcublas", "libnccl", "libnvJitLink", "libcusparse", "libnvrtc"),
    *("libnvidia", "libtorch", "libc10", "libstdc++", "libgomp", "libomp", "libiomp"),
    *("libamdhip", "libhsa-runtime", "libMIOpen", "libze_loader", "libsycl"),
)

Matrix = List[List[float]]


def try_torch(arguments: Sequence[str]) -> int:
    """Try everything, printing as it goes; ``arguments`` are the projects of the lock, which say what else to import.

    Returns the exit status: 1 if torch cannot even be imported.
    """
    found: Dict[str, Any] = {}

    def import_torch() -> Dict[str, Any]:
        found["torch"] = __import__("torch")
        return describe_torch(found["torch"])

    imported = take_step("import", import_torch)
    if imported:
        torch = found["torch"]
        take_step("build", lambda: describe_build(torch))
        try_cpu(torch)
        if "numpy" in arguments:
            take_step("numpy", lambda: try_numpy(torch))
        if "torchvision" in arguments:
            take_step("torchvision", lambda: try_torchvision(torch, "cpu"))
        if "torchaudio" in arguments:
            take_step("torchaudio", lambda: try_torchaudio(torch))
        if torch_is_built_for(torch, "cuda") or torch_is_built_for(torch, "hip"):
            try_cuda_devices(torch, arguments)
        if torch_is_built_for(torch, "xpu"):
            try_other_devices(torch, "xpu")
        if getattr(getattr(torch, "backends", None), "mps", None) is not None and sys.platform == "darwin":
            take_step("mps", lambda: try_mps(torch))
    take_step("driver library", ask_driver_library)
    take_step("libraries", describe_loaded_libraries)
    return 0 if imported else 1


def try_cpu(torch: Any) -> None:  # noqa: ANN401
    """Let the CPU compute; every torch has more than products, stand-ins for it have not."""
    take_step("cpu product", lambda: try_product(torch, "cpu"))
    if getattr(getattr(torch, "nn", None), "functional", None) is not None:
        take_step("cpu linear", lambda: try_linear(torch, "cpu"))
        take_step("cpu convolution", lambda: try_convolution(torch, "cpu"))
    if hasattr(torch, "get_num_threads"):
        take_step("cpu threads", lambda: try_threads(torch))


def take_step(name: str, action: Callable[[], Dict[str, Any]]) -> bool:
    """Announce a step, take it, tell what came of it; whatever it raises is a fact to be judged, no error here."""
    print_record({"begin": name})
    record: Dict[str, Any] = {"end": name}
    before = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            record["facts"] = action()
        except (Exception, SystemExit) as error:  # noqa: BLE001
            record["error"] = f"{type(error).__name__}: {shorten_message(str(error))}"
            record["at"] = ["{}:{} {}".format(*frame[:3]) for frame in traceback.extract_tb(error.__traceback__)[-3:]]
    record["seconds"] = round(time.perf_counter() - before, 3)
    record["warnings"] = [
        f"{one.category.__name__}: {shorten_message(str(one.message))}"
        for one in caught[:20]
        if not issubclass(one.category, (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning))
    ]
    print_record(record)
    return "error" not in record


def print_record(record: Dict[str, Any]) -> None:
    """Print a record on a line of its own, at once; C libraries may have left theirs unfinished."""
    sys.stdout.write("\n" + RECORD_SEPARATOR + json.dumps(record) + "\n")
    sys.stdout.flush()


def shorten_message(text: str) -> str:
    """Take the middle out of a long message."""
    if len(text) <= MESSAGE_LENGTH:
        return text
    half = MESSAGE_LENGTH // 2
    return text[:half] + " […] " + text[-half:]


def torch_is_built_for(torch: Any, kind: str) -> bool:  # noqa: ANN401
    """Whether torch says that it was built for ``cuda``, ``hip`` or ``xpu``."""
    return bool(getattr(getattr(torch, "version", None), kind, None))


def describe_torch(torch: Any) -> Dict[str, Any]:  # noqa: ANN401
    """Say what torch was imported, from where, built for what."""
    version = getattr(torch, "version", None)
    facts = {kind: getattr(version, kind, None) for kind in ("cuda", "hip", "xpu", "git_version", "debug")}
    facts.update({"version": str(torch.__version__), "file": str(getattr(torch, "__file__", None))})
    return {name: value if value is None else str(value) for name, value in facts.items()}


def describe_build(torch: Any) -> Dict[str, Any]:  # noqa: ANN401
    """Say what is in the build: devices that it has code for, libraries, threads."""
    facts: Dict[str, Any] = {}
    asked: Dict[str, Callable[[], Any]] = {
        "threads": lambda: int(torch.get_num_threads()),
        "architectures": lambda: list_architectures(torch),
        "cudnn": lambda: int(torch.backends.cudnn.version()),
        "distributed": lambda: bool(torch.distributed.is_available()),
        "nccl": lambda: describe_nccl(torch),
        "mkl": lambda: bool(torch.backends.mkl.is_available()),
        "cxx11_abi": lambda: bool(torch.compiled_with_cxx11_abi()),
        "cpu_capability": lambda: str(torch.backends.cpu.get_cpu_capability()),
    }
    for name, ask in asked.items():
        try:
            facts[name] = ask()
        except (AttributeError, RuntimeError, ImportError, AssertionError, OSError, TypeError):
            facts[name] = None  # this release does not say, or this build has none
    return facts


def list_architectures(torch: Any) -> List[str]:  # noqa: ANN401
    """List what the build has code for, whether or not there is a GPU: ``sm_80`` …, ``gfx90a`` …."""
    flags = getattr(getattr(torch, "_C", None), "_cuda_getArchFlags", None)
    if flags is not None and flags():
        return [str(one) for one in flags().split()]
    return [str(one) for one in torch.cuda.get_arch_list()]


def describe_nccl(torch: Any) -> str:  # noqa: ANN401
    """Say which NCCL (on AMD: RCCL) is in the build: ``2.21.5``."""
    version = torch.cuda.nccl.version()
    if isinstance(version, int):
        return f"{version // 1000}.{version % 1000 // 100}.{version % 100}"
    return ".".join(str(part) for part in version)


def whole_numbers(rows: int, columns: int, seed: int) -> Matrix:
    """Make a matrix of whole numbers between -4 and 4, without a pattern that a wrong kernel could keep."""
    return [
        [float((row * 7 + column * 5 + row * column + seed) % 9 - 4) for column in range(columns)]
        for row in range(rows)
    ]


def multiply_plainly(left: Matrix, right: Matrix) -> Matrix:
    """Multiply two matrices in Python alone."""
    columns = list(zip(*right))
    return [[sum(a * b for a, b in zip(row, column)) for column in columns] for row in left]


def largest_difference(left: Any, right: Any) -> float:  # noqa: ANN401
    """Return the largest difference between two nested lists; infinite where their shapes differ or a value is none."""
    if isinstance(left, (list, tuple)):
        if not isinstance(right, (list, tuple)) or len(left) != len(right):
            return float("inf")
        return max((largest_difference(a, b) for a, b in zip(left, right)), default=0.0)
    difference = abs(left - right)
    return float(difference) if difference == difference else float("inf")  # noqa: PLR0124  (not a number)


def require_equal(found: Any, expected: Any, what: str) -> None:  # noqa: ANN401
    """Raise if a result is not the one that is known."""
    difference = largest_difference(found, expected)
    if difference > TOLERANCE:
        raise ArithmeticError(f"{what} came out wrong, by {difference:g}")


def place_tensor(torch: Any, values: Any, device: str) -> Any:  # noqa: ANN401
    """Make a tensor on a device."""
    single = getattr(torch, "float32", None)
    tensor = torch.tensor(values) if single is None else torch.tensor(values, dtype=single)
    return tensor if device == "cpu" else tensor.to(device)


def try_product(torch: Any, device: str) -> Dict[str, Any]:  # noqa: ANN401
    """Multiply two matrices and compare with what Python alone makes of them."""
    left, right = whole_numbers(SIDE, SIDE, 1), whole_numbers(SIDE, SIDE, 5)
    product = place_tensor(torch, left, device) @ place_tensor(torch, right, device)
    require_equal(product.tolist(), multiply_plainly(left, right), "a matrix product")
    return {"side": SIDE}


def try_linear(torch: Any, device: str) -> Dict[str, Any]:  # noqa: ANN401
    """Run a linear layer forwards and backwards: the gradient of half the squares' sum is known."""
    inputs, weights, bias = whole_numbers(5, 4, 2), whole_numbers(3, 4, 3), [1.0, -2.0, 3.0]
    given, weight = place_tensor(torch, inputs, device), place_tensor(torch, weights, device).requires_grad_()
    made = torch.nn.functional.linear(given, weight, place_tensor(torch, bias, device))
    (made * made).sum().backward()
    outputs = [
        [value + bias[column] for column, value in enumerate(row)]
        for row in multiply_plainly(inputs, [list(column) for column in zip(*weights)])
    ]
    gradient = [[2 * value for value in row] for row in multiply_plainly([list(one) for one in zip(*outputs)], inputs)]
    require_equal(made.detach().to("cpu").tolist(), outputs, "a linear layer")
    require_equal(weight.grad.to("cpu").tolist(), gradient, "the gradient of a linear layer")
    return {"gradient": True}


def try_convolution(torch: Any, device: str) -> Dict[str, Any]:  # noqa: ANN401
    """Run a convolution forwards and backwards: oneDNN or MKL on a CPU, cuDNN or MIOpen on a GPU."""
    size, kernel = 8, 3
    image = [[whole_numbers(size, size, channel) for channel in range(2)]]
    weights = [[whole_numbers(kernel, kernel, 2 * one + channel) for channel in range(2)] for one in range(3)]
    weight = place_tensor(torch, weights, device).requires_grad_()
    made = torch.nn.functional.conv2d(place_tensor(torch, image, device), weight)
    made.sum().backward()
    out = range(size - kernel + 1)
    window = range(kernel)
    outputs = [
        [
            [
                [
                    sum(
                        image[0][channel][row + y][column + x] * weights[one][channel][y][x]
                        for channel in range(2)
                        for y in window
                        for x in window
                    )
                    for column in out
                ]
                for row in out
            ]
            for one in range(3)
        ]
    ]
    slopes = [
        [[sum(image[0][channel][row + y][column + x] for row in out for column in out) for x in window] for y in window]
        for channel in range(2)
    ]
    require_equal(made.detach().to("cpu").tolist(), outputs, "a convolution")
    require_equal(weight.grad.to("cpu").tolist(), [slopes] * 3, "the gradient of a convolution")
    return {"gradient": True}


def try_threads(torch: Any) -> Dict[str, Any]:  # noqa: ANN401
    """Multiply on one thread and on all: an OpenMP that is there twice, or missing, shows here."""
    threads = torch.get_num_threads()
    ones = torch.tensor([[1.0] * THREADED_SIDE] * THREADED_SIDE)
    try:
        for number in (1, max(2, threads)):
            torch.set_num_threads(number)
            total = float((ones @ ones).sum())
            require_equal([total], [float(THREADED_SIDE**3)], f"a product on {number} threads")
    finally:
        torch.set_num_threads(threads)
    return {"threads": threads}


def try_numpy(torch: Any) -> Dict[str, Any]:  # noqa: ANN401
    """Hand an array over and back: an ABI that does not agree shows here."""
    numpy = __import__("numpy")
    if not hasattr(torch, "from_numpy"):
        return {"version": str(numpy.__version__)}
    array = torch.tensor([1.0, 2.0]).numpy()
    require_equal(torch.from_numpy(array).tolist(), [1.0, 2.0], "an array of NumPy")
    return {"version": str(numpy.__version__)}


def try_torchvision(torch: Any, device: str) -> Dict[str, Any]:  # noqa: ANN401
    """Import torchvision and call an operator of its own C++ library, which a wrong pairing with torch breaks."""
    torchvision = __import__("torchvision")
    facts = {"version": str(getattr(torchvision, "__version__", None))}
    operators = getattr(torchvision, "ops", None)  # since 0.3
    if operators is None or not hasattr(operators, "nms"):
        return facts
    boxes = [[0.0, 0.0, 10.0, 10.0], [1.0, 1.0, 11.0, 11.0], [20.0, 20.0, 30.0, 30.0]]
    kept = operators.nms(place_tensor(torch, boxes, device), place_tensor(torch, [0.9, 0.8, 0.7], device), 0.5)
    require_equal(kept.to("cpu").tolist(), [0, 2], "torchvision.ops.nms")
    facts["operator"] = "torchvision.ops.nms"
    return facts


def try_torchaudio(torch: Any) -> Dict[str, Any]:  # noqa: ANN401
    """Import torchaudio and filter a signal, which its C++ library does where it has one."""
    torchaudio = __import__("torchaudio")
    facts = {"version": str(getattr(torchaudio, "__version__", None))}
    lfilter = getattr(getattr(torchaudio, "functional", None), "lfilter", None)
    if lfilter is not None:  # since 0.4
        signal = [[0.5, -0.25, 0.125, 0.0]]
        same = torch.tensor([1.0, 0.0])
        filtered = lfilter(torch.tensor(signal), same, same)
        require_equal(filtered.tolist(), signal, "torchaudio.functional.lfilter")
        facts["operator"] = "torchaudio.functional.lfilter"
    return facts


def try_cuda_devices(torch: Any, projects: Iterable[str]) -> None:  # noqa: ANN401
    """Try each GPU that torch sees through its CUDA interface, which on AMD's is ROCm's."""
    seen: Dict[str, Any] = {"count": 0}

    def look() -> Dict[str, Any]:
        seen["available"] = bool(torch.cuda.is_available())
        seen["count"] = int(torch.cuda.device_count()) if seen["available"] else 0
        if not seen["available"] and hasattr(torch.cuda, "init"):
            torch.cuda.init()  # raises the reason
        return dict(seen)

    take_step("cuda", look)
    for number in range(seen["count"]):
        take_step(f"cuda:{number}", lambda: try_cuda_device(torch, number))  # noqa: B023  (called at once)
    if seen["count"] and "torchvision" in projects:
        take_step("torchvision on cuda:0", lambda: try_torchvision(torch, "cuda:0"))


def try_cuda_device(torch: Any, number: int) -> Dict[str, Any]:  # noqa: ANN401
    """Describe one GPU, and let it compute what the CPU computed."""
    facts: Dict[str, Any] = {"name": str(torch.cuda.get_device_name(number))}
    if hasattr(torch.cuda, "get_device_capability"):
        facts["capability"] = ".".join(str(part) for part in torch.cuda.get_device_capability(number))
    properties = torch.cuda.get_device_properties(number) if hasattr(torch.cuda, "get_device_properties") else None
    for name in ("total_memory", "multi_processor_count", "gcnArchName"):
        if hasattr(properties, name):
            facts[name] = getattr(properties, name)
    device = f"cuda:{number}"
    with torch.cuda.device(number):
        if hasattr(torch.cuda, "mem_get_info"):
            facts["free_memory"] = int(torch.cuda.mem_get_info(number)[0])
        try_product(torch, device)
        print_record({"passed": "product", "on": device, "facts": facts})
        try_linear(torch, device)
        try_convolution(torch, device)
        if hasattr(torch.cuda, "synchronize"):
            torch.cuda.synchronize()
    facts["computed"] = ["product", "linear", "convolution"]
    return facts


def try_other_devices(torch: Any, kind: str) -> None:  # noqa: ANN401
    """Try each device of an interface that follows CUDA's, as Intel's does."""
    interface = getattr(torch, kind, None)
    seen: Dict[str, Any] = {"count": 0}

    def look() -> Dict[str, Any]:
        seen["available"] = bool(interface is not None and interface.is_available())
        seen["count"] = int(interface.device_count()) if interface is not None and seen["available"] else 0
        if interface is not None and not seen["available"] and hasattr(interface, "init"):
            interface.init()  # raises the reason
        return dict(seen)

    def try_one(number: int) -> Dict[str, Any]:
        device = f"{kind}:{number}"
        ask = getattr(interface, "get_device_name", None)
        facts = {"name": str(ask(number))} if ask is not None else {}
        try_product(torch, device)
        try_linear(torch, device)
        return facts

    take_step(kind, look)
    for number in range(seen["count"]):
        take_step(f"{kind}:{number}", lambda: try_one(number))  # noqa: B023  (called at once)


def try_mps(torch: Any) -> Dict[str, Any]:  # noqa: ANN401
    """Compute on Apple's GPU, where this torch has support for it and the system offers one."""
    facts = {"built": bool(torch.backends.mps.is_built()), "available": bool(torch.backends.mps.is_available())}
    if facts["available"]:
        try_product(torch, "mps")
        try_convolution(torch, "mps")
    return facts


def ask_driver_library() -> Dict[str, Any]:
    """Ask NVIDIA's driver library itself whether it works: torch passes its number on, but not always."""
    library = None
    why: List[str] = []
    for name in ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"):
        try:
            library = ctypes.CDLL(name)
            break
        except OSError as error:
            why.append(str(error))
    if library is None:
        return {"loaded": False, "why": shorten_message(why[0])}
    number = ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(number))
    return {"loaded": True, "cuda": number.value, "initialised": int(library.cuInit(0))}


def describe_loaded_libraries() -> Dict[str, Any]:
    """Say which telling libraries this process has loaded, and from where (Linux)."""
    try:
        with Path("/proc/self/maps").open(errors="replace") as maps:
            places = {"/" + line.split("/", 1)[1].strip() for line in maps if "/" in line}
    except OSError:
        return {}
    names = {place: place.rsplit("/", 1)[-1] for place in places}
    return {"files": sorted(place for place, name in names.items() if name.startswith(TELLING_LIBRARIES))[:200]}
