"""Runs an exported model: needs numpy, and jax (StableHLO) or onnxruntime (ONNX), nothing else of this project.

    model = Exported("exported")
    people = model(pixels)  # uint8 [height, width, 3], RGB

The file stands alone: `--mode=export` puts a copy of it beside the programs, so that the folder is all one needs.
Pictures come as pixels; with Pillow: numpy.asarray(PIL.Image.open("photo.jpg").convert("RGB")).
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ABOUT, WEIGHTS, ONNX_WEIGHTS = "about.json", "weights.npz", "weights.bin"
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # of onnxruntime, those that are there
FORMAT = 2  # of the folder; changes when an older loader could not read it
BITS = 22  # fixed point of the resizing weights, as in Pillow
CUBIC_A = -0.75  # of the kernel with which the recipe "affine" resizes, as in OpenCV
BORDER_COLOUR = (124, 116, 104)  # RGB with which it fills canvases


class Place(NamedTuple):
    """Where a picture lies on its canvas, network pixels."""

    resized: tuple[int, int]
    """h, w of the picture."""
    corner: tuple[int, int]
    """x, y of its top left."""
    size: tuple[int, int]
    """h, w of the picture with the borders that belong to it."""
    inverse: np.ndarray
    """float32 [2, 3]: network pixels [x, y, 1] to those of the picture."""


Program = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], dict[str, np.ndarray]]
"""(image, valid_size, orig_size, inv_affine) -> poses of a batch by name."""


class Exported:
    """The programs and weights of one folder."""

    def __init__(self, folder: str | Path):
        """Loads the weights onto jax's default device; programs are compiled, or loaded by onnxruntime, at first use.

        Raises:
            ValueError: the folder is no export, or of a newer format, or what runs it is not installed.
        """
        self.folder = Path(folder)
        if not (self.folder / ABOUT).is_file():
            raise ValueError(f"{folder}: holds no {ABOUT}; name a folder that --mode=export has written")
        self.about: dict[str, Any] = json.loads((self.folder / ABOUT).read_text())
        if self.about["format"] != FORMAT:
            raise ValueError(f"{folder}: is of format {self.about['format']}, this loader reads {FORMAT}")
        self._load = {"stablehlo": stablehlo, "onnx": onnx}[self.about.get("kind", "stablehlo")](self.folder)
        self._programs: dict[str, Program] = {}

    def __call__(self, picture: np.ndarray, threshold: float | None = None) -> dict[str, np.ndarray]:
        """The people on one picture, best first; original pixels, continuous (0.5 is a pixel's centre).

        Args:
            picture: uint8 [height, width, 3], RGB, any size.
            threshold: people with a smaller score are left out; None: that of the export, `about["threshold"]`.

        Returns:
            scores [n], labels [n], boxes [n, 4] xyxy, keypoints [n, K, 2], keypoint_scores [n, K].
        """
        return self.predict([picture], threshold)[0]

    def predict(self, pictures: Sequence[np.ndarray], threshold: float | None = None) -> list[dict[str, np.ndarray]]:
        """The people on each picture. Pictures that share a canvas go through together, in the exported batch sizes.

        Raises:
            ValueError: a picture that is none or fits on no canvas, or a threshold that is no number from 0 to 1.
        """
        if threshold is None:
            threshold = self.about.get("threshold", {"score": 0.3})["score"]
        if isinstance(threshold, str | bool) or not 0 <= threshold <= 1:
            raise ValueError(f"threshold {threshold!r}: must be a number from 0 to 1")
        found: list[dict[str, np.ndarray]] = [{} for _ in pictures]
        by_canvas: dict[tuple[int, int], list[int]] = {}
        for i, picture in enumerate(pictures):
            by_canvas.setdefault(self._canvas(*self._place(picture).size), []).append(i)
        largest = max(self.about["batch_sizes"])
        for canvas, indices in by_canvas.items():
            for start in range(0, len(indices), largest):
                chunk = indices[start : start + largest]
                poses = self._run([pictures[i] for i in chunk], canvas)
                for b, i in enumerate(chunk):
                    found[i] = _kept({name: value[b] for name, value in poses.items()}, threshold)
        return found

    def _run(self, pictures: Sequence[np.ndarray], canvas: tuple[int, int]) -> dict[str, np.ndarray]:
        """Poses of pictures of one canvas, with what completes the batch at the end."""
        count = min(size for size in self.about["batch_sizes"] if size >= len(pictures))
        images = np.zeros((count, *canvas, 3), np.uint8)
        valid, orig = np.ones((2, count, 2), np.int32)
        inverse = np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1))
        for b, picture in enumerate(pictures):
            place = self._place(picture)
            lay(images[b], picture, place, is_cubic=self.about["recipe"] == "affine")
            valid[b], orig[b], inverse[b] = place.size, picture.shape[:2], place.inverse
        return self.program(count, canvas)(images, valid, orig, inverse)

    def program(self, count: int, canvas: tuple[int, int]) -> Program:
        """The program for so many pictures on canvases (height, width) itself; pictures must lie on them already."""
        name = self.about["programs"][f"{count}x{canvas[0]}x{canvas[1]}"]
        if name not in self._programs:
            self._programs[name] = self._load(self.folder / name)
        return self._programs[name]

    def _place(self, picture: np.ndarray) -> Place:
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
            raise ValueError(f"array of shape {picture.shape} and {picture.dtype}: need RGB, uint8 [height, width, 3]")
        height, width = picture.shape[:2]
        if self.about["recipe"] == "affine":
            return fitted(height, width, *(self.about[key] for key in ("resize", "length", "multiple")))
        rule = SIZE_RULES[self.about["recipe"]]
        new_h, new_w = rule(height, width, self.about["short_side"], self.about["longest_side"])
        inverse = np.array([[width / new_w, 0, 0], [0, height / new_h, 0]], np.float32)
        return Place((new_h, new_w), (0, 0), (new_h, new_w), inverse)

    def _canvas(self, height: int, width: int) -> tuple[int, int]:
        holding = [(h * w, h, w) for h, w in self.about["canvases"] if h >= height and w >= width]
        if not holding:
            shown = ", ".join(f"{h}x{w}" for h, w in self.about["canvases"])
            raise ValueError(f"a picture of {height}x{width} network pixels fits on no exported canvas ({shown})")
        return min(holding)[1:]


def stablehlo(folder: Path) -> Callable[[Path], Program]:
    """Loads the weights of a folder; returns what makes its programs callable."""
    try:
        import jax
        import jax.export
    except ModuleNotFoundError:
        raise ValueError(f"{folder}: holds StableHLO, which jax runs; pip install jax") from None
    with np.load(folder / WEIGHTS, allow_pickle=False) as file:
        weights = {name: jax.device_put(file[name]) for name in file.files}

    def load(path: Path) -> Program:
        call = jax.jit(jax.export.deserialize(bytearray(path.read_bytes())).call)
        return lambda *given: jax.device_get(call(weights, *given))

    return load


def onnx(folder: Path) -> Callable[[Path], Program]:
    """What makes the programs of a folder callable; each session loads the weights that it uses."""
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise ValueError(f"{folder}: holds ONNX, which onnxruntime runs; pip install onnxruntime") from None
    providers = [name for name in PROVIDERS if name in onnxruntime.get_available_providers()]

    def load(path: Path) -> Program:
        session = onnxruntime.InferenceSession(str(path), providers=providers)
        names = [x.name for x in session.get_outputs()]

        def run(*given: np.ndarray) -> dict[str, np.ndarray]:
            named = {x.name: array for x, array in zip(session.get_inputs(), given, strict=True)}
            return dict(zip(names, session.run(None, named), strict=True))

        return run

    return load


def network_size(height: int, width: int, short: int, longest: float) -> tuple[int, int]:
    """Height and width after scaling the short side to `short` with the long side at most `longest`."""
    scale = short / min(height, width)
    new_h, new_w = (short, scale * width) if height < width else (scale * height, short)
    if max(new_h, new_w) > longest:
        shrink = longest / max(new_h, new_w)
        new_h, new_w = new_h * shrink, new_w * shrink
    return max(int(new_h + 0.5), 1), max(int(new_w + 0.5), 1)


def network_size_of_detr(height: int, width: int, short: int, longest: float) -> tuple[int, int]:
    """The same by DETR's rule: the short side is rounded where the limit binds, the long one always rounded down."""
    low, high = min(height, width), max(height, width)
    new_low = min(short, round(longest * low / high))
    new_high = new_low * high // low if new_low else min(int(longest), high)
    new_low = max(new_low, 1)
    return (new_high, new_low) if height >= width else (new_low, new_high)


SIZE_RULES = {"querypose": network_size, "detr": network_size_of_detr}


def fitted(height: int, width: int, rule: str, length: int, multiple: int) -> Place:
    """By the recipe "affine": the long side becomes `length`, in the middle of a square (rule "long"), or the height
    does, at the top left, both sides filled up to a multiple (rule "height"). First pixel to first, last to last."""
    if rule == "long":
        short = max(int(min(height, width) * (length / max(height, width))), 1)
        resized = (length, short) if height > width else (short, length)
        size, corner = (length, length), ((length - resized[1]) // 2, (length - resized[0]) // 2)
    else:
        resized, corner = (length, max(int(width * (length / height)), 1)), (0, 0)
        size = (-(-resized[0] // multiple) * multiple, -(-resized[1] // multiple) * multiple)
    x, y = ((old - 1) / max(new - 1, 1) for old, new in ((width, resized[1]), (height, resized[0])))
    return Place(resized, corner, size, np.array([[x, 0, -x * corner[0]], [0, y, -y * corner[1]]], np.float32))


def lay(canvas: np.ndarray, picture: np.ndarray, place: Place, is_cubic: bool) -> None:
    """Writes a picture into a black canvas, uint8 [H, W, 3]."""
    (x, y), (height, width) = place.corner, place.resized
    if is_cubic:
        canvas[: place.size[0], : place.size[1]] = BORDER_COLOUR
    canvas[y : y + height, x : x + width] = (cubic_resize if is_cubic else resize)(picture, height, width)


def cubic_resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bicubic, without antialias; half-pixel centres, clamped border."""
    if picture.shape[:2] == (height, width):
        return picture
    rows = _cubic_rows(picture.astype(np.float32), height)
    columns = _cubic_rows(rows.swapaxes(0, 1), width).swapaxes(0, 1)
    return np.clip(np.rint(columns), 0, 255).astype(np.uint8)


def _cubic_rows(values: np.ndarray, size: int) -> np.ndarray:
    position = (np.arange(size) + 0.5) * len(values) / size - 0.5
    first = np.floor(position).astype(np.int64)
    out = np.zeros((size, *values.shape[1:]), np.float32)
    for tap in (-1, 0, 1, 2):
        d = np.abs(position - first - tap)
        near = (CUBIC_A + 2) * d**3 - (CUBIC_A + 3) * d**2 + 1
        far = CUBIC_A * (d**3 - 5 * d**2 + 8 * d - 4)
        weight = np.where(d <= 1, near, np.where(d < 2, far, 0.0)).astype(np.float32)
        out += weight[:, None, None] * values[np.clip(first + tap, 0, len(values) - 1)]
    return out


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pillow's bilinear resizing of 8-bit pixels: first along rows, then along columns, rounded between.

    Newer versions of Pillow choose the order of the two by the sizes: then a pixel may differ by 1 of 255.
    """
    if picture.shape[1] != width:
        picture = _along_rows(picture, width)
    if picture.shape[0] != height:
        picture = _along_rows(picture.transpose(1, 0, 2), height).transpose(1, 0, 2)
    return picture


def _along_rows(picture: np.ndarray, width: int) -> np.ndarray:
    """A product with integer weights, held in float64, which is exact up to 2^53."""
    weights = _resize_weights(picture.shape[1], width)
    sums = np.einsum("ow,hwc->hoc", weights, picture.astype(np.float64), optimize=True)
    return np.clip(np.floor((sums + 2 ** (BITS - 1)) / 2**BITS), 0, 255).astype(np.uint8)


def _resize_weights(size: int, new_size: int) -> np.ndarray:
    """[new_size, size]: triangles around each new pixel's centre, as wide as the old or new pixel, the larger one."""
    scale = size / new_size
    reach = max(scale, 1.0)
    weights = np.zeros((new_size, size))
    for i in range(new_size):
        centre = (i + 0.5) * scale
        first, end = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), size)
        triangle = np.maximum(1 - np.abs((np.arange(first, end) - centre + 0.5) / reach), 0)
        weights[i, first:end] = triangle / triangle.sum()
    return np.floor(weights * 2**BITS + 0.5)


def _kept(poses: dict[str, np.ndarray], threshold: float) -> dict[str, np.ndarray]:
    """The valid people of one picture with score >= threshold, best first."""
    order = np.argsort(-poses["scores"], kind="stable")
    kept = order[(poses["valid"] & (poses["scores"] >= threshold))[order]]
    return {name: value[kept] for name, value in poses.items() if name != "valid"}
