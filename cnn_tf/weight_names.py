"""How torchvision, timm and keras.applications call the layers of our networks.

Most names follow from ours by a few rules; where a library numbers its layers or blocks, we count as it does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Names = Mapping[str, str]
"""Our name of a layer -> theirs."""

Rules = Mapping[str, str | Callable[..., str]]
"""Pattern of our name -> their name, or a function of the pattern's groups, in which numbers are int."""


class Naming(NamedTuple):
    """How a library calls a network's layers: the classifier, and from the names of all our layers, in order, the others."""

    classifier: str
    others: Callable[[Sequence[str]], Names]

    def names(self, layers: Sequence[str]) -> Names:
        """Their name for each layer that they know."""
        return {**self.others(layers), "logits": self.classifier}


class Published(NamedTuple):
    """A network of keras.applications that equals one of ours, once built with these options."""

    network: str
    naming: Naming
    options: Mapping[str, Any]

    @property
    def bgr(self) -> bool:
        """Whether its first kernel takes blue first: what was trained with Caffe's scaling does."""
        return bool(self.options["scaling"] == "caffe")


def by_rules(rules: Rules) -> Callable[[Sequence[str]], Names]:
    """The first rule whose pattern is the whole name gives theirs."""

    def name_all(layers: Sequence[str]) -> Names:
        found = ((layer, _apply(rules, layer)) for layer in layers)
        return {layer: theirs for layer, theirs in found if theirs is not None}

    return name_all


def _apply(rules: Rules, layer: str) -> str | None:
    for pattern, theirs in rules.items():
        if match := re.fullmatch(pattern, layer):
            return theirs if isinstance(theirs, str) else theirs(*map(_number, match.groups()))
    return None


def _number(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def by_position(**containers: str) -> Callable[[Sequence[str]], Names]:
    """Our prefix -> their container, which numbers its layers from 0; ours have layers for padding and flattening besides."""

    def name_all(layers: Sequence[str]) -> Names:
        names: dict[str, str] = {}
        for prefix, container in containers.items():
            inside = [name for name in layers if name.startswith(prefix) and not name.endswith(("_pad", "_flatten"))]
            names |= {name: f"{container}.{index}" for index, name in enumerate(inside)}
        return names

    return name_all


def both(*namings: Callable[[Sequence[str]], Names]) -> Callable[[Sequence[str]], Names]:
    """What all of them name."""
    return lambda layers: {ours: theirs for naming in namings for ours, theirs in naming(layers).items()}


def by_blocks(name: Callable[[int, int, str, str], str]) -> Callable[[Sequence[str]], Names]:
    """For STAGE_BLOCK_PART_KIND; `name` is given the numbers of block (through all stages, from 1) and part (from 0)."""

    def name_all(layers: Sequence[str]) -> Names:
        names: dict[str, str] = {}
        for number, block in enumerate(_blocks(layers), start=1):
            parts = list(dict.fromkeys(PART_OF.get(part, part) for part, _ in block.values()))
            for layer, (part, kind) in block.items():
                names[layer] = name(number, parts.index(PART_OF.get(part, part)), part, kind)
        return names

    return name_all


# torch has squeeze and excitation in one module.
PART_OF = {"excite": "squeeze"}


def _blocks(layers: Iterable[str]) -> list[dict[str, tuple[str, str]]]:
    """The layers (part, kind) of each block."""
    blocks: dict[str, dict[str, tuple[str, str]]] = {}
    for layer in layers:
        if match := re.fullmatch(r"(stage\d+_block\d+)_([a-z]+)_(conv|bn)", layer):
            blocks.setdefault(match[1], {})[layer] = (match[2], match[3])
    return list(blocks.values())


def _mobilenet_v2(block: int, part: int, name: str, kind: str) -> str:
    index = (0, 1)[kind == "bn"]
    return f"features.{block}.conv.{part + index}" if name == "project" else f"features.{block}.conv.{part}.{index}"


def _mobilenet_v3(block: int, part: int, name: str, kind: str) -> str:
    inner = {"squeeze": "fc1", "excite": "fc2"}.get(name, "1" if kind == "bn" else "0")
    return f"features.{block}.block.{part}.{inner}"


RESNET = Naming(
    "fc",
    by_rules(
        {
            r"stem_(conv|bn)": "{}1".format,
            r"stage(\d+)_block(\d+)_(\d)_(conv|bn)": lambda stage, block, i, kind: (
                f"layer{stage}.{block - 1}.{kind}{i}"
            ),
            r"stage(\d+)_block(\d+)_shortcut_conv": lambda stage, block: f"layer{stage}.{block - 1}.downsample.0",
            r"stage(\d+)_block(\d+)_shortcut_bn": lambda stage, block: f"layer{stage}.{block - 1}.downsample.1",
        }
    ),
)

RESNET_V2 = Naming(
    "head.fc",
    by_rules(
        {
            r"stem_conv": "stem.conv",
            r"stage(\d+)_block(\d+)_(\d)_conv": lambda stage, block, i: (
                f"stages.{stage - 1}.blocks.{block - 1}.conv{i}"
            ),
            r"stage(\d+)_block(\d+)_(\d)_bn": lambda stage, block, i: f"stages.{stage - 1}.blocks.{block - 1}.norm{i}",
            r"stage(\d+)_block(\d+)_shortcut_conv": (
                lambda stage, block: f"stages.{stage - 1}.blocks.{block - 1}.downsample.conv"
            ),
            r"head_bn": "norm",
        }
    ),
)

DENSENET = Naming(
    "classifier",
    by_rules(
        {
            r"stem_conv": "features.conv0",
            r"stem_bn": "features.norm0",
            r"stage(\d+)_layer(\d+)_(\d)_conv": "features.denseblock{}.denselayer{}.conv{}".format,
            r"stage(\d+)_layer(\d+)_(\d)_bn": "features.denseblock{}.denselayer{}.norm{}".format,
            r"stage(\d+)_transition_conv": lambda stage: f"features.transition{stage - 1}.conv",
            r"stage(\d+)_transition_bn": lambda stage: f"features.transition{stage - 1}.norm",
            r"head_bn": "features.norm5",
        }
    ),
)

BRANCHES = {"1x1": "branch1", "3x3_reduce": "branch2.0", "3x3": "branch2.1", "5x5_reduce": "branch3.0"} | {
    "5x5": "branch3.1",
    "pool_proj": "branch4.1",
}

GOOGLENET = Naming(
    "fc",
    by_rules(
        {
            r"stage1_(conv|bn)": "conv1.{}".format,
            r"stage2_reduce_(conv|bn)": "conv2.{}".format,
            r"stage2_(conv|bn)": "conv3.{}".format,
            r"stage(\d)_([a-e])_(\w+)_(conv|bn)": (
                lambda stage, letter, branch, kind: f"inception{stage}{letter}.{BRANCHES[branch]}.{kind}"
            ),
        }
    ),
)

SEQUENTIAL = Naming("classifier.6", by_position(stage="features", head="classifier"))

TIMM_VGG = Naming(
    "head.fc", both(by_position(stage="features"), by_rules({r"head_dense(\d)": "pre_logits.fc{}".format}))
)

MOBILENET_V2 = Naming(
    "classifier.1",
    both(
        by_blocks(_mobilenet_v2),
        by_rules(
            {
                "stem_conv": "features.0.0",
                "stem_bn": "features.0.1",
                "head_conv": "features.18.0",
                "head_bn": "features.18.1",
            }
        ),
    ),
)

# What timm calls the convolution and the normalisation of each part of a block, and where there is no expansion.
TIMM_PARTS = {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")}
TIMM_FIRST_PARTS = {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")}


def _timm_mobilenet(stage: int, block: int, part: str, kind: str) -> str:
    parts = TIMM_FIRST_PARTS if stage == 1 else TIMM_PARTS
    return f"blocks.{stage - 1}.{block - 1}.{parts[part][kind == 'bn']}"


TIMM_MOBILENET_V2 = Naming(
    "classifier",
    by_rules(
        {
            r"stem_conv": "conv_stem",
            r"stem_bn": "bn1",
            r"head_conv": "conv_head",
            r"head_bn": "bn2",
            r"stage(\d)_block(\d)_([a-z]+)_(conv|bn)": _timm_mobilenet,
        }
    ),
)

MOBILENET_V3_SMALL = Naming(
    "classifier.3",
    both(
        by_blocks(_mobilenet_v3),
        by_rules(
            {
                "stem_conv": "features.0.0",
                "stem_bn": "features.0.1",
                "head_conv": "features.12.0",
                "head_bn": "features.12.1",
                "head_dense": "classifier.0",
            }
        ),
    ),
)


def _convnext(
    classifier: str, stem: str, norm: str, stage: str, block: str, parts: tuple[str, str, str, str, str]
) -> Naming:
    """stage, block: patterns of a downsampling and of a block, {stage} and {block} from 0, {before} and {after} by twos."""
    depthwise, norm_part, expand, project, scale = parts
    inner = {
        "depthwise_conv": depthwise,
        "depthwise_norm": norm_part,
        "expand_conv": expand,
        "project_conv": project,
        "scale": scale,
    }

    def in_stage(number: int, kind: str) -> str:
        return stage.format(stage=number - 1, before=2 * number - 2) + (".0" if kind == "norm" else ".1")

    def in_block(number: int, index: int, part: str) -> str:
        return f"{block.format(stage=number - 1, after=2 * number - 1, block=index - 1)}.{inner[part]}"

    rules: Rules = {
        r"stem_conv": f"{stem}.0",
        r"stem_norm": f"{stem}.1",
        r"stage(\d)_downsample_(norm|conv)": in_stage,
        rf"stage(\d)_block(\d+)_({'|'.join(inner)})": in_block,
        r"head_norm": norm,
    }
    return Naming(classifier, by_rules(rules))


# torchvision counts downsamplings and stages alike: the first, between them, is the stem.
CONVNEXT = _convnext(
    "classifier.2",
    "features.0",
    "classifier.0",
    "features.{before}",
    "features.{after}.{block}",
    ("block.0", "block.2", "block.3", "block.5", "layer_scale"),
)

TIMM_CONVNEXT = _convnext(
    "head.fc",
    "stem",
    "head.norm",
    "stages.{stage}.downsample",
    "stages.{stage}.blocks.{block}",
    ("conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma"),
)

# Our name (as a pattern) -> how torchvision and timm call its layers; where they agree, there is one.
TORCH: Mapping[str, tuple[Naming, ...]] = {
    r"alexnet": (SEQUENTIAL,),
    r"vgg\d+(_bn)?": (SEQUENTIAL, TIMM_VGG),
    r"googlenet": (GOOGLENET,),
    r"resnet(18|34|50|101|152)|resnext50|wide_resnet50": (RESNET,),
    r"resnet(18|50|101|152)_v2": (RESNET_V2,),
    r"densenet\d+": (DENSENET,),
    r"mobilenet_v2": (MOBILENET_V2, TIMM_MOBILENET_V2),
    r"mobilenet_v3_small": (MOBILENET_V3_SMALL,),
    r"convnext_tiny": (CONVNEXT, TIMM_CONVNEXT),
}

KERAS_VGG = Naming(
    "predictions",
    by_rules({r"stage(\d)_(\d)_conv": "block{}_conv{}".format, r"head_dense(\d)": "fc{}".format}),
)

KERAS_RESNET = Naming(
    "predictions",
    by_rules(
        {
            r"stem_(conv|bn)": "conv1_{}".format,
            r"stage(\d)_block(\d+)_(\d)_(conv|bn)": lambda stage, *rest: "conv{}_block{}_{}_{}".format(
                stage + 1, *rest
            ),
            r"stage(\d)_block(\d+)_shortcut_(conv|bn)": (
                lambda stage, block, kind: f"conv{stage + 1}_block{block}_0_{kind}"
            ),
        }
    ),
)

KERAS_DENSENET = Naming(
    "predictions",
    by_rules(
        {
            r"stem_(conv|bn)": "conv1_{}".format,
            r"stage(\d)_layer(\d+)_(\d)_bn": lambda stage, layer, i: f"conv{stage + 1}_block{layer}_{i - 1}_bn",
            r"stage(\d)_layer(\d+)_(\d)_conv": lambda stage, layer, i: f"conv{stage + 1}_block{layer}_{i}_conv",
            r"stage(\d)_transition_(conv|bn)": "pool{}_{}".format,
            r"head_bn": "bn",
        }
    ),
)

_CAFFE = {"scaling": "caffe"}
_CAFFE_RESNET = {"scaling": "caffe", "norm_epsilon": 1.001e-5}
_IMAGENET = {"scaling": "imagenet", "norm_epsilon": 1.001e-5}

# Theirs strides in the first 1x1 convolution of a bottleneck, so it is v1.
KERAS: Mapping[str, Published] = {
    "vgg16": Published("VGG16", KERAS_VGG, _CAFFE),
    "vgg19": Published("VGG19", KERAS_VGG, _CAFFE),
    "resnet50_v1": Published("ResNet50", KERAS_RESNET, _CAFFE_RESNET),
    "resnet101_v1": Published("ResNet101", KERAS_RESNET, _CAFFE_RESNET),
    "resnet152_v1": Published("ResNet152", KERAS_RESNET, _CAFFE_RESNET),
    "densenet121": Published("DenseNet121", KERAS_DENSENET, _IMAGENET),
}


def known_to_torch(networks: Iterable[str]) -> list[str]:
    """Those of our networks that torchvision or timm have too."""
    return [network for network in networks if torch_namings(network)]


def torch_namings(network: str) -> tuple[Naming, ...]:
    """How torch's libraries call the layers of our network; empty if they have none that equals it."""
    return next((namings for pattern, namings in TORCH.items() if re.fullmatch(pattern, network)), ())


def torch_options(network: str) -> Mapping[str, Any]:
    """The options of `build` that torchvision's published weights were made with.

    Its GoogLeNet undoes the usual scaling inside and wants values from -1 to 1; so do timm's ResNets v2.
    """
    return {"scaling": "symmetric" if re.fullmatch(r"googlenet|resnet\d+_v2", network) else "imagenet"}
