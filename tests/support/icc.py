"""ICC profiles of RGB spaces, written by the specification (ICC.1:2001-04), not by the library under test."""

import struct

import numpy as np

D50 = np.array([0.9642, 1.0, 0.8249])
D65 = np.array([0.95047, 1.0, 1.08883])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def matrix_profile(gamma: float, primaries: tuple[tuple[float, float], ...], *, srgb_curve: bool = False) -> bytes:
    """Return a display profile of a space with white point D65.

    Args:
        gamma: the exponent of its curve.
        primaries: chromaticities (x, y) of red, green and blue.
        srgb_curve: use the curve of sRGB instead, as a table.
    """
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    to_xyz = columns * np.linalg.solve(columns, D65)
    adapted = np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ D50) / (BRADFORD @ D65)) @ BRADFORD @ to_xyz
    if srgb_curve:
        levels = np.linspace(0, 1, 1024)
        linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
        curve = b"curv" + bytes(4) + struct.pack(">I1024H", 1024, *(linear * 65535).round().astype(int))
    else:
        curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    columns_of = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(_xyz, adapted.T), strict=True))
    return _profile(b"RGB ", columns_of | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))


def grey_profile(gamma: float) -> bytes:
    """Return a display profile of greys with this exponent."""
    return _profile(b"GRAY", {b"kTRC": b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)})


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78), b"wtpt": _xyz(D50)} | tags
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    header = struct.pack(">I4x", 128 + len(table) + len(data)) + bytes.fromhex("02100000") + b"mntr" + space + b"XYZ "
    header += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">3i", *_fixed(D50))
    return header.ljust(128, b"\0") + table + data


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *_fixed(values))


def _fixed(values: np.ndarray) -> list[int]:
    return [round(value * 65536) for value in values]


ADOBE_RGB = matrix_profile(563 / 256, ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)))
