"""What a compiled network shall look like: layer specs, the network spec, their names and their JSON form."""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from lutkan.errors import SpecError

__all__ = ["NAMED_SPECS", "BasisSpec", "BranchSpec", "CodeSpec", "LayerSpec", "SegmentSpec", "Spec", "resolve_spec"]

Domain = tuple[float, float]


def _one_of(where: str, value: object, allowed: tuple[object, ...]) -> None:
    if not any(type(value) is type(choice) and value == choice for choice in allowed):
        raise SpecError(f"{where} = {value!r}", ", ".join(repr(v) for v in allowed))


def _bits(where: str, value: object, before: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 2 <= value <= 8:
        raise SpecError(f"{where} = {value!r}", f"{before}an integer from 2 to 8")


@dataclass(frozen=True)
class SegmentSpec:
    """Segment look-up tables under the LUT-KAN contract (arXiv 2601.03332; docs/spec/semantics.md).

    Attributes
    ----------
    samples : int
        Samples a segment, the paper's L, at least 2; both ends of the segment are samples.
    dtype : {"int8", "uint8"}
    scheme : {"symmetric", "asymmetric"} or None
        int8 goes with symmetric (`scale = max|y| / 127`), uint8 with asymmetric (`scale = (hi - lo) / 255`); other
        pairings are refused. None takes the one that goes with the dtype.
    interpolation : {"linear", "nearest"}
    value : {"auto", "spline_component", "phi"}
        What a table holds: the spline alone, with the base branch kept analytic, or the whole edge function. "auto" is
        `spline_component` where there is a base branch.
    boundary_mode : {"half_open", "closed"}
        Whether the last knot belongs to the domain.
    oob_policy : {"model", "clip_x", "zero_spline"}
        Beyond the domain: what the trained model does, the value at the border, or zero. A base branch that is kept
        analytic always sees the unclipped input.
    segments : int or None
        Segments of the domain, for families without knots only; None takes 32.
    domain : (float, float) or None
        Table domain, for families without knots only; None takes the interval on which the functions live, or the
        calibrated range.
    percentile : (float, float) or None
        Range of a segment from these percentiles of its samples instead of minimum and maximum; samples beyond
        saturate.
    keep_masked : bool
        Keep inputs and outputs without a live edge.

    Raises
    ------
    SpecError
        A field has a value that is not allowed, or two fields contradict each other.

    Examples
    --------
    >>> SegmentSpec(samples=16, dtype="uint8").scheme
    'asymmetric'
    """

    samples: int = 64
    dtype: Literal["int8", "uint8"] = "int8"
    scheme: Literal["symmetric", "asymmetric"] | None = None
    interpolation: Literal["linear", "nearest"] = "linear"
    value: Literal["auto", "spline_component", "phi"] = "auto"
    boundary_mode: Literal["half_open", "closed"] = "half_open"
    oob_policy: Literal["model", "clip_x", "zero_spline"] = "model"
    segments: int | None = None
    domain: Domain | None = None
    percentile: tuple[float, float] | None = None
    keep_masked: bool = False

    def __post_init__(self) -> None:
        where = "SegmentSpec."
        if isinstance(self.samples, bool) or not isinstance(self.samples, int) or not 2 <= self.samples <= 65536:
            raise SpecError(f"{where}samples = {self.samples!r}", "an integer from 2 to 65536")
        _one_of(where + "dtype", self.dtype, ("int8", "uint8"))
        fitting = "symmetric" if self.dtype == "int8" else "asymmetric"
        if self.scheme is None:
            object.__setattr__(self, "scheme", fitting)
        if self.scheme != fitting:
            raise SpecError(
                f"{where}dtype = {self.dtype!r} with scheme = {self.scheme!r}",
                "int8 with symmetric, uint8 with asymmetric",
                "the codes of the other pairing do not fit the dtype",
            )
        _one_of(where + "interpolation", self.interpolation, ("linear", "nearest"))
        _one_of(where + "value", self.value, ("auto", "spline_component", "phi"))
        _one_of(where + "boundary_mode", self.boundary_mode, ("half_open", "closed"))
        _one_of(where + "oob_policy", self.oob_policy, ("model", "clip_x", "zero_spline"))
        if self.segments is not None and (
            isinstance(self.segments, bool) or not isinstance(self.segments, int) or not 1 <= self.segments <= 65536
        ):
            raise SpecError(f"{where}segments = {self.segments!r}", "None, or an integer from 1 to 65536")
        if self.domain is not None:
            object.__setattr__(self, "domain", _interval(where + "domain", self.domain))
        if self.percentile is not None:
            low, high = _interval(where + "percentile", self.percentile)
            if low < 0 or high > 100:
                raise SpecError(f"{where}percentile = {self.percentile!r}", "two numbers, 0 <= low < high <= 100")
            object.__setattr__(self, "percentile", (low, high))
        _one_of(where + "keep_masked", self.keep_masked, (False, True))

    def to_json(self) -> dict[str, Any]:
        """Return `{type, version, data}`."""
        return {"type": "SegmentSpec", "version": 1, "data": _plain(asdict(self))}


@dataclass(frozen=True)
class BasisSpec:
    """Integer basis tables: coefficient rows times tabulated basis weights (docs/spec/semantics.md section 5).

    Attributes
    ----------
    coefficient_bits : {32, 16, 8, 4, 3, 2}
        4 and fewer are storage forms, unpacked to 8 bits on load. 32 keeps float32 coefficients and computes the
        weights instead of tabulating them: uniform splines are then exact to float32, everything else is projected on
        them, and the base branch stays apart.
    position_bits : int or None
        Weights an interval are sampled at `2^position_bits` places; None takes 8 (10 with 16-bit coefficients). Not
        for 32-bit coefficients.
    base : {"auto", "fold", "apart"}
        Whether the base branch is folded into the rows by a spline fit, or kept as an integer product. "auto" folds
        where the base branch sees the same input as uniform B-splines.
    cover : float
        Share of the calibrated inputs over which the folded rows reach; the others take an exact float32 path.
    segments : int or None
        Intervals of the projection, for edges that are neither B-splines nor radial; None takes as many, 16 to 256, as
        keep the residual small beside the rounding of the coefficients.
    domain : (float, float) or None
        Domain of the projection; None takes the calibrated range, or the interval where the edges live.
    rounding : {"auto", "nearest", "fit"}
        Whether every coefficient takes the nearest code, or codes are fitted to the calibration rows so that their
        errors cancel; a fitted code is at most one step off. "auto" fits codes of 8 bits and fewer.
    keep_masked : bool
        Keep inputs and outputs without a live edge.

    Raises
    ------
    SpecError
        A field has a value that is not allowed.

    Examples
    --------
    >>> BasisSpec(coefficient_bits=4).resolved_position_bits
    8
    """

    coefficient_bits: Literal[32, 16, 8, 4, 3, 2] = 8
    position_bits: int | None = None
    base: Literal["auto", "fold", "apart"] = "auto"
    cover: float = 0.999
    segments: int | None = None
    domain: Domain | None = None
    rounding: Literal["auto", "nearest", "fit"] = "auto"
    keep_masked: bool = False

    def __post_init__(self) -> None:
        where = "BasisSpec."
        _one_of(where + "coefficient_bits", self.coefficient_bits, (32, 16, 8, 4, 3, 2))
        _one_of(where + "base", self.base, ("auto", "fold", "apart"))
        _one_of(where + "rounding", self.rounding, ("auto", "nearest", "fit"))
        for name, low, high in (("position_bits", 0, 12), ("segments", 1, 4096)):
            value = getattr(self, name)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high
            ):
                raise SpecError(f"{where}{name} = {value!r}", f"None, or an integer from {low} to {high}")
        if self.coefficient_bits == 32 and (self.position_bits, self.base == "fold", self.rounding == "fit") != (
            None,
            False,
            False,
        ):
            raise SpecError(
                f"{where}coefficient_bits = 32 with position_bits = {self.position_bits!r}, base = {self.base!r}, "
                f"rounding = {self.rounding!r}",
                "position_bits None, base auto or apart, rounding auto or nearest",
                "float32 rows have no positions and no codes, and their base branch stays apart",
            )
        if not isinstance(self.cover, (int, float)) or not 0.0 < self.cover <= 1.0:
            raise SpecError(f"{where}cover = {self.cover!r}", "a share above 0, at most 1")
        if self.domain is not None:
            object.__setattr__(self, "domain", _interval(where + "domain", self.domain))
        _one_of(where + "keep_masked", self.keep_masked, (False, True))

    @property
    def resolved_position_bits(self) -> int:
        """The position bits in force."""
        if self.position_bits is not None:
            return self.position_bits
        return 10 if self.coefficient_bits == 16 else 8

    def to_json(self) -> dict[str, Any]:
        """Return `{type, version, data}`."""
        return {"type": "BasisSpec", "version": 1, "data": _plain(asdict(self))}


@dataclass(frozen=True)
class BranchSpec:
    """How the weights of one branch are quantized.

    Attributes
    ----------
    bits : int or None
        2 to 8; None leaves them as they are (for training only: an integer table needs bits).
    granularity : {"tensor", "output", "edge", "group"}
        What shares a scale.
    symmetric : bool
        Whether zero is the middle code; otherwise the codes have a free offset.
    group_size : int or None
        Coefficients a group, for "group" only.

    Raises
    ------
    SpecError
        A field has a value that is not allowed, or two fields contradict each other.
    """

    bits: int | None = 8
    granularity: Literal["tensor", "output", "edge", "group"] = "output"
    symmetric: bool = True
    group_size: int | None = None

    def __post_init__(self) -> None:
        where = "BranchSpec."
        if self.bits is not None:
            _bits(where + "bits", self.bits, "None, or ")
        _one_of(where + "granularity", self.granularity, ("tensor", "output", "edge", "group"))
        _one_of(where + "symmetric", self.symmetric, (False, True))
        if (self.group_size is None) == (self.granularity == "group"):
            raise SpecError(
                f"{where}group_size = {self.group_size!r} with granularity {self.granularity!r}",
                'a size with "group", None otherwise',
            )
        size = self.group_size
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise SpecError(f"{where}group_size = {size!r}", "an integer from 1 on")

    def to_json(self) -> dict[str, Any]:
        """Return `{type, version, data}`."""
        return {"type": "BranchSpec", "version": 1, "data": asdict(self)}


@dataclass(frozen=True)
class CodeSpec:
    """Integers from code to code: quantized inputs and weights, tables addressed by the code (semantics section 5.5).

    The same object steers quantization-aware training, post-training quantization and `lutkan.compile`.

    Attributes
    ----------
    input_bits : int
        2 to 8: a layer's input is one of `2^input_bits` codes.
    input_symmetric : bool
        Whether zero is the middle code; False leaves the offset free.
    base, spline : BranchSpec
        Weights of the base branch, and of all others.
    scaler : BranchSpec or None
        Edge scales that a family keeps apart (efficient-kan's scaler, pykan's scale_sp); None folds them into the
        coefficients first.
    percentile : (float, float) or None
        Input range from these percentiles of the calibration rows instead of minimum and maximum.
    keep_masked : bool
        Keep inputs and outputs without a live edge.

    Raises
    ------
    SpecError
        A field has a value that is not allowed.

    Examples
    --------
    >>> resolve_spec("w4a8").default.spline.bits
    4
    """

    input_bits: int = 8
    input_symmetric: bool = False
    base: BranchSpec = BranchSpec()
    spline: BranchSpec = BranchSpec()
    scaler: BranchSpec | None = None
    percentile: tuple[float, float] | None = None
    keep_masked: bool = False

    def __post_init__(self) -> None:
        where = "CodeSpec."
        _bits(where + "input_bits", self.input_bits)
        _one_of(where + "input_symmetric", self.input_symmetric, (False, True))
        for name in ("base", "spline", "scaler"):
            value = getattr(self, name)
            if not isinstance(value, BranchSpec) and not (name == "scaler" and value is None):
                raise SpecError(f"{where}{name} is {str(value)[:80]!r}", "a BranchSpec")
        if self.percentile is not None:
            low, high = _interval(where + "percentile", self.percentile)
            if low < 0 or high > 100:
                raise SpecError(f"{where}percentile = {self.percentile!r}", "two numbers, 0 <= low < high <= 100")
            object.__setattr__(self, "percentile", (low, high))
        _one_of(where + "keep_masked", self.keep_masked, (False, True))

    def to_json(self) -> dict[str, Any]:
        """Return `{type, version, data}`."""
        return {"type": "CodeSpec", "version": 1, "data": _plain(asdict(self))}


def _interval(where: str, value: object) -> Domain:
    try:
        low, high = (float(v) for v in value)  # type: ignore[union-attr]
    except (TypeError, ValueError) as error:
        raise SpecError(f"{where} = {value!r}", "two numbers (low, high)") from error
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SpecError(f"{where} = {value!r}", "two finite numbers with low < high")
    return low, high


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in data.items()}


LayerSpec = SegmentSpec | BasisSpec | CodeSpec
_LAYER_SPECS: Mapping[str, type[SegmentSpec] | type[BasisSpec] | type[CodeSpec]] = {
    "SegmentSpec": SegmentSpec,
    "BasisSpec": BasisSpec,
    "CodeSpec": CodeSpec,
}


@dataclass(frozen=True)
class Spec:
    """A spec for a whole network: a default, and overrides by layer and by branch.

    Attributes
    ----------
    default : layer spec
    overrides : tuple of (pattern, layer spec or BranchSpec)
        The first pattern that matches wins. A pattern is a shell pattern matched against the layer's name and its
        number (`"layers.0"`, `"0"`, `"layers.*"`). One with a BranchSpec is matched against these with `.base`,
        `.spline` or `.scaler` behind them (`"layers.0.spline"`, `"*.base"`), and changes that branch of the layer's
        CodeSpec.

    Examples
    --------
    >>> spec = Spec(SegmentSpec(), overrides=(("0", SegmentSpec(samples=16)),))
    >>> spec.for_layer(0, "layers.0").samples, spec.for_layer(1, "layers.1").samples
    (16, 64)
    >>> Spec.from_json(spec.to_json()) == spec
    True
    """

    default: LayerSpec
    overrides: tuple[tuple[str, LayerSpec | BranchSpec], ...] = ()

    def __post_init__(self) -> None:
        kinds = tuple(_LAYER_SPECS.values())
        allowed = " or ".join(_LAYER_SPECS)
        if not isinstance(self.default, kinds):
            raise SpecError(f"Spec.default is {str(self.default)[:80]!r}", f"a {allowed}")
        kinds, allowed = (*kinds, BranchSpec), f"{allowed} or BranchSpec"
        if not isinstance(self.overrides, (tuple, list)):
            raise SpecError(f"Spec.overrides is a {type(self.overrides).__name__}", f"pairs (pattern, {allowed})")
        for entry in self.overrides:
            pair = isinstance(entry, (tuple, list)) and len(entry) == 2
            if not (pair and isinstance(entry[0], str) and isinstance(entry[1], kinds)):
                raise SpecError(f"Spec override {str(entry)[:80]}", f"a pair (pattern, {allowed})")
        object.__setattr__(self, "overrides", tuple((pattern, spec) for pattern, spec in self.overrides))

    def for_layer(self, index: int, name: str) -> LayerSpec:
        """Return the spec of the layer with that number and name."""
        found = self.default
        for pattern, spec in self.overrides:
            if not isinstance(spec, BranchSpec) and _matches(pattern, index, name):
                found = spec
                break
        for branch in _BRANCHES:
            for pattern, spec in self.overrides:
                if isinstance(spec, BranchSpec) and _matches(pattern, index, name, branch):
                    if not isinstance(found, CodeSpec):
                        raise SpecError(
                            f"override {pattern!r} is a BranchSpec, and layer {name!r} has a {type(found).__name__}",
                            "a CodeSpec for that layer",
                        )
                    found = replace(found, **{branch: spec})
                    break
        return found

    def require_matches(self, names: tuple[str, ...]) -> None:
        """Raise SpecError if a pattern matches no layer, or no branch."""
        for pattern, spec in self.overrides:
            ends = _BRANCHES if isinstance(spec, BranchSpec) else ("",)
            if not any(_matches(pattern, i, name, end) for i, name in enumerate(names) for end in ends):
                raise SpecError(
                    f"override pattern {pattern!r} matches no {'branch' if len(ends) > 1 else 'layer'}",
                    ", ".join(f"{i} or {name}" for i, name in enumerate(names))
                    + (f", then {' or '.join('.' + end for end in ends)}" if len(ends) > 1 else ""),
                )

    def to_json(self) -> dict[str, Any]:
        """Return `{type, version, data}`, ready for json.dumps."""
        overrides = [[pattern, spec.to_json()] for pattern, spec in self.overrides]
        return {"type": "Spec", "version": 1, "data": {"default": self.default.to_json(), "overrides": overrides}}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Spec:
        """Read what `to_json` wrote.

        Raises
        ------
        SpecError
            Another type or version, or an unknown or missing field.
        """
        body = _body(data, "Spec")
        if set(body) != {"default", "overrides"} or not isinstance(body["overrides"], list):
            raise SpecError(f"Spec data has the fields {sorted(body)}", "default, overrides")
        overrides = []
        for entry in body["overrides"]:
            if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str):
                raise SpecError(f"Spec override {entry!r}", "[pattern, layer spec]")
            is_branch = isinstance(entry[1], Mapping) and entry[1].get("type") == "BranchSpec"
            overrides.append(
                (entry[0], _branch_spec(_body(entry[1], "BranchSpec")) if is_branch else _layer_spec(entry[1]))
            )
        return Spec(_layer_spec(body["default"]), tuple(overrides))


_BRANCHES = ("base", "spline", "scaler")


def _matches(pattern: str, index: int, name: str, branch: str = "") -> bool:
    end = f".{branch}" if branch else ""
    return fnmatch.fnmatchcase(f"{index}{end}", pattern) or fnmatch.fnmatchcase(f"{name}{end}", pattern)


def _body(data: object, *types: str) -> dict[str, Any]:
    if not isinstance(data, Mapping) or data.get("type") not in types or not isinstance(data.get("data"), Mapping):
        raise SpecError(f"spec {str(data)[:80]}", f"{{type: {' or '.join(types)}, version: 1, data: {{...}}}}")
    if type(data.get("version")) is not int or data["version"] != 1:
        raise SpecError(f"{data['type']} version {data.get('version')!r}", "1", "read it with a newer lutkan")
    return dict(data["data"])


def _layer_spec(data: object) -> LayerSpec:
    body = _body(data, *_LAYER_SPECS)
    kind = _LAYER_SPECS[data["type"]]  # type: ignore[index]
    known = {field.name for field in fields(kind)}
    unknown = sorted(set(body) - known)
    if unknown:
        raise SpecError(f"{kind.__name__} has the unknown field {unknown[0]!r}", ", ".join(sorted(known)))
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in body.items()}
    if kind is CodeSpec:
        values = {key: _branch_spec(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    return kind(**values)


def _branch_spec(data: Mapping[str, Any]) -> BranchSpec:
    known = {field.name for field in fields(BranchSpec)}
    unknown = sorted(set(data) - known)
    if unknown:
        raise SpecError(f"BranchSpec has the unknown field {unknown[0]!r}", ", ".join(sorted(known)))
    return BranchSpec(**data)


#: Specs by name; `segment-<dtype>-L<samples>` is understood for any number of samples.
NAMED_SPECS: Mapping[str, LayerSpec] = {
    "float32": BasisSpec(coefficient_bits=32),
    "int16": BasisSpec(coefficient_bits=16),
    "int8": BasisSpec(),
    "int4": BasisSpec(coefficient_bits=4),
    "segment-int8-L64": SegmentSpec(),
    "segment-uint8-L16": SegmentSpec(samples=16, dtype="uint8"),
}
#: What `named_spec` knows, in words.
SPEC_NAMES = "float32, int16, int8, int4, w<2 to 8>a<2 to 8>, segment-int8-L<2 to 65536>, segment-uint8-L<2 to 65536>"
_CODE_NAME = re.compile(r"w([2-8])a([2-8])")
_SEGMENT_NAME = re.compile(r"segment-(int8|uint8)-L(\d{1,18})")


def named_spec(name: str) -> Spec | None:
    """Return the spec of that name, or None if none has it.

    Raises
    ------
    SpecError
        The name says a number of samples that is not allowed.

    Examples
    --------
    >>> named_spec("w4a8").default.input_bits, named_spec("w4a9")
    (8, None)
    """
    if name in NAMED_SPECS:
        return Spec(NAMED_SPECS[name])
    match = _SEGMENT_NAME.fullmatch(name)
    if match:
        return Spec(SegmentSpec(samples=int(match[2]), dtype=match[1]))  # type: ignore[arg-type]
    match = _CODE_NAME.fullmatch(name)
    if match:
        weights = BranchSpec(bits=int(match[1]))
        return Spec(CodeSpec(input_bits=int(match[2]), base=weights, spline=weights))
    return None


def resolve_spec(spec: Spec | LayerSpec | str | Mapping[str, Any] | None) -> Spec:
    """Turn what a user passes as `spec` into a `Spec`.

    Parameters
    ----------
    spec : Spec, layer spec, str or mapping
        A name such as "segment-int8-L64", or the JSON form.

    Raises
    ------
    SpecError
        An unknown name, or a malformed mapping.

    Examples
    --------
    >>> resolve_spec("segment-uint8-L16").default.samples
    16
    """
    if isinstance(spec, Spec):
        return spec
    if isinstance(spec, (SegmentSpec, BasisSpec, CodeSpec)):
        return Spec(spec)
    if isinstance(spec, Mapping):
        return Spec.from_json(spec) if spec.get("type") == "Spec" else Spec(_layer_spec(spec))
    if isinstance(spec, str):
        named = named_spec(spec)
        if named is not None:
            return named
    raise SpecError(f"spec {spec!r}", f"{SPEC_NAMES}, a spec object or its JSON form", 'pass spec="int8"')
