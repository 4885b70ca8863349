# The file runs on Python 3.6: no new spellings of types.
"""Import torch and compute something: one stand-alone file, run under the destination's own interpreter.

``python -I torch_proof.py`` prints one JSON document: torch's own version, a matrix product, and whether torch sees a
GPU. Python 3.6 and newer, any torch: only calls that every release since 0.4 has.
"""

import json
import sys
from typing import Any, Dict

import torch  # type: ignore[import-not-found, unused-ignore]  # the destination has it, we need not


def main() -> None:
    """Print what torch says of itself and what it computed."""
    product = _product("cpu")
    report = {"version": str(torch.__version__), "product": product}  # type: Dict[str, Any]
    report.update(_cuda())
    sys.stdout.write(json.dumps(report) + "\n")


def _product(device: str) -> Any:  # noqa: ANN401  (nested lists of floats)
    matrix = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    if device != "cpu":
        matrix = matrix.to(device)
    return (matrix @ matrix).tolist()


def _cuda() -> Dict[str, Any]:
    """Report what torch sees of CUDA; a failure is a fact to be judged by the caller, not an error here."""
    report = {"cuda": getattr(getattr(torch, "version", None), "cuda", None)}  # type: Dict[str, Any]
    if report["cuda"] is None:
        return report
    report["cuda_available"] = bool(torch.cuda.is_available())
    try:
        if report["cuda_available"]:
            report["devices"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
            report["cuda_product"] = _product("cuda")
        elif hasattr(torch.cuda, "init"):
            torch.cuda.init()  # raises the reason
    except Exception as error:  # noqa: BLE001  (whatever torch or the driver raises is the diagnosis)
        lines = str(error).strip().splitlines() or [""]
        report["cuda_error"] = f"{type(error).__name__}: {lines[0]}"
    return report


if __name__ == "__main__":
    main()
