"""The larger architectures against what is known of them: parameters, stages, operations; and the
convolution below.
"""

import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import lax
from networks import shapes_only

import nowcast
from collect.models import MODELS
from collect.models.convolution import convolve
from collect.models.layers import ConvNorm, max_pool_3, mean_pool


def slow(*values):
    """A network of very many layers, of which tests of smaller ones say the same."""
    return pytest.param(*values, marks=pytest.mark.slow)


SMALL = {
    "amalgam_cnn": {},
    "alexnet": {},
    "densenet": {"depth": 10},
    "hyper_cnn": {},
    "hyper_resnet": {"depth": 8},
    "inception_v1": {},
    "introspection_cifar1": {},
    "introspection_mnist1": {},
    "introspection_mnist2": {},
    "introspection_mnist3": {},
    "introspection_n0": {},
    "mobilenet_v2": {},
    "mobilenet_v2_imagenet": {},
    "nino_cnn": {},
    "pvt_v2": {},
    "resnet18": {},
    "shufflenet_v2": {},
    "vgg": {"depth": 11},
}


@pytest.mark.parametrize(
    ("name", "image_shape", "sizes", "published"),
    [
        ("vgg", (32, 32, 3), {"depth": 11}, 9_231_114),
        ("vgg", (32, 32, 3), {"depth": 13}, 9_416_010),
        ("vgg", (32, 32, 3), {"depth": 16}, 14_728_266),
        slow("vgg", (32, 32, 3), {"depth": 19}, 20_040_522),
        ("resnet18", (32, 32, 3), {}, 11_173_962),
        ("alexnet", (227, 227, 3), {}, 60_965_224 - (4096 + 1) * 990),  # Caffe's bvlc_alexnet
        ("inception_v1", (224, 224, 3), {}, 6_624_904 - (1024 + 1) * 990),  # torchvision's
        ("mobilenet_v2", (32, 32, 3), {}, 2_296_922),
        ("mobilenet_v2_imagenet", (224, 224, 3), {}, 3_504_872 - (1280 + 1) * 990),
        ("shufflenet_v2", (32, 32, 3), {"width": 0.5}, 352_042),
        slow("shufflenet_v2", (32, 32, 3), {}, 1_263_854),
        slow("densenet", (32, 32, 3), {"depth": 100}, 769_162),
        slow("densenet", (32, 32, 3), {"depth": 121}, 1_000_618),
        ("nino_cnn", (28, 28, 1), {}, 14_378),
        ("nino_cnn", (32, 32, 3), {"width": 2.0}, 896 + 18_496 + 36_928 + 650),
        ("introspection_n0", (28, 28, 1), {}, 208 + 3_216 + 12_832 + 512 * 1024 + 1024 + 10_250),
        ("introspection_n0", (32, 32, 3), {}, 552_218),
        ("introspection_mnist1", (28, 28, 1), {}, 832 + 51_264 + 3136 * 1024 + 1024 + 10_250),
        ("introspection_mnist2", (28, 28, 1), {}, 431_080),
        ("introspection_mnist3", (28, 28, 1), {}, 784 * 256 + 256 + 65_792 + 2_570),
        (
            "introspection_cifar1",
            (32, 32, 3),
            {},
            4_864 + 102_464 + 2 * 128 + 2304 * 384 + 384 + 384 * 192 + 192 + 1_930,
        ),
        ("amalgam_cnn", (28, 28, 1), {}, 160 + 12_832 + 512 * 10 + 10),
        ("pvt_v2", (224, 224, 3), {}, 3_666_760 - (256 + 1) * 990),
    ],
)
def test_parameter_counts_are_those_of_the_references(name, image_shape, sizes, published):
    params = nnx.state(shapes_only(name, image_shape, **sizes), nnx.Param)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == published


@pytest.mark.parametrize(
    ("name", "sizes", "parts", "stages"),
    [
        ("resnet18", {}, "blocks", [(32, 64, 2), (16, 128, 2), (8, 256, 2), (4, 512, 2)]),
        (
            "mobilenet_v2",
            {},
            "blocks",
            [
                (32, 16, 1),
                (32, 24, 2),
                (16, 32, 3),
                (8, 64, 4),
                (8, 96, 3),
                (4, 160, 3),
                (4, 320, 1),
            ],
        ),
        (
            "mobilenet_v2_imagenet",
            {},
            "blocks",
            [
                (16, 16, 1),
                (8, 24, 2),
                (4, 32, 3),
                (2, 64, 4),
                (2, 96, 3),
                (1, 160, 3),
                (1, 320, 1),
            ],
        ),
        slow("shufflenet_v2", {}, "units", [(16, 116, 4), (8, 232, 8), (4, 464, 4)]),
        ("shufflenet_v2", {"width": 0.5}, "units", [(16, 48, 4), (8, 96, 8), (4, 192, 4)]),
    ],
)
def test_stages_have_the_published_size_channels_and_length(name, sizes, parts, stages):
    def forward():
        model = MODELS[name]((32, 32, 3), 10, **sizes, rngs=nnx.Rngs(0))
        x, outputs = model.stem(jnp.zeros((1, 32, 32, 3))), []
        for part in getattr(model, parts):
            x = part(x)
            outputs.append(x)
        return outputs

    outputs = Counter((out.shape[1], out.shape[3]) for out in nnx.eval_shape(forward))
    assert [(*shape, count) for shape, count in outputs.items()] == stages


@pytest.mark.parametrize(
    ("name", "sizes", "expected"),
    [
        ("vgg", {"depth": 16}, {"conv": 13, "norm": 26, "fc": 1, "bias": 14}),
        ("resnet18", {}, {"conv": 1 + 16 + 3, "norm": 40, "fc": 1, "bias": 1}),
        (
            "mobilenet_v2",
            {},
            {"conv": 1 + 2 * 17 + 4 + 1, "depthwise_conv": 17, "norm": 114, "fc": 1, "bias": 1},
        ),
        (
            "shufflenet_v2",
            {},
            {
                "conv": 1 + 3 * 3 + 13 * 2 + 1,
                "depthwise_conv": 3 * 2 + 13,
                "norm": 112,
                "fc": 1,
                "bias": 1,
            },
        ),
        ("densenet", {}, {"conv": 1 + 2 * 48 + 2, "norm": 2 * (96 + 2 + 1), "fc": 1, "bias": 1}),
        ("alexnet", {}, {"conv": 5, "fc": 3, "bias": 8}),
        ("inception_v1", {}, {"conv": 3 + 9 * 6, "norm": 2 * 57, "fc": 1, "bias": 1}),
        ("introspection_n0", {}, {"conv": 3, "fc": 2, "bias": 5}),
        ("introspection_mnist1", {}, {"conv": 2, "fc": 2, "bias": 4}),
        ("introspection_mnist2", {}, {"conv": 2, "fc": 2, "bias": 4}),
        ("introspection_cifar1", {}, {"conv": 2, "norm": 4, "fc": 3, "bias": 5}),
        ("nino_cnn", {}, {"conv": 3, "fc": 1, "bias": 4}),
        (
            "pvt_v2",
            {},
            {
                "conv": 4 + 2 * 3,
                "depthwise_conv": 8,
                "fc": 8 * 5 + 1,
                "bias": 4 + 2 * 3 + 8 + 8 * 5 + 1,
                "norm": 2 * (4 + 2 * 3 + 2 * 8 + 4),
            },
        ),
        ("hyper_cnn", {}, {"conv": 1, "embedding": 1, "fc": 2 + 2, "bias": 1 + 2 + 3 + 2}),
        (
            "hyper_resnet",
            {},
            {"conv": 1, "embedding": 1, "norm": 2 * 19, "fc": 2 + 1, "bias": 2 + 1},
        ),
    ],
)
def test_operations_of_all_leaves(name, sizes, expected):
    labels = nowcast.label_ops(shapes_only(name, **sizes))
    assert Counter(jax.tree.leaves(labels)) == expected
    for path, label in jax.tree.leaves_with_path(labels):
        assert (label == "depthwise_conv") == bool(
            re.search("depthwise.*(conv|kernel)", str(path))
        ), path


def test_inceptions_stages_are_table_1s():
    def forward():
        model = MODELS["inception_v1"]((224, 224, 3), 1000, rngs=nnx.Rngs(0))
        x = max_pool_3(model.first(jnp.zeros((1, 224, 224, 3))))
        x, shapes = model.third(model.second(x)), []
        for stage in model.stages:
            x = max_pool_3(x)
            for block in stage:
                x = block(x)
            shapes.append(x)
        return shapes

    found = [out.shape[1:] for out in nnx.eval_shape(forward)]
    assert found == [(28, 28, 480), (14, 14, 832), (7, 7, 1024)]


def test_a_rate_above_1_needs_a_depthwise_convolution_of_stride_1():
    for given in ({"kernel": 3}, {"kernel": 3, "stride": 2, "depthwise": True}):
        with pytest.raises(ValueError, match="rate=2: only of a 3×3 depthwise"):
            ConvNorm(4, 4, rate=2, **given, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("name", "depth", "allowed"),
    [("vgg", 12, "11, 13, 16, 19"), ("densenet", 101, "6n [+] 4"), ("densenet", 4, "10, 16")],
)
def test_an_unknown_depth_is_refused_with_those_that_exist(name, depth, allowed):
    with pytest.raises(nowcast.UserError, match=f"model.depth={depth}: .*{allowed}"):
        MODELS[name]((32, 32, 3), 10, depth=depth, rngs=nnx.Rngs(0))


MANY_PROGRAMS = {
    "inception_v1",
    "mobilenet_v2",
    "mobilenet_v2_imagenet",
    "pvt_v2",
    "resnet18",
    "shufflenet_v2",
}
"""Networks that take ten seconds to compile."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in MANY_PROGRAMS)) for name in SMALL],
)
def test_a_small_member_learns_a_batch(name):
    definition, params, extra = nnx.split(
        shapes_only(name, width=0.2, **SMALL[name]), nnx.Param, ...
    )
    rng = np.random.default_rng(0)

    def fill(path, leaf):  # the initial values, without compiling an initialiser for every shape
        if leaf.ndim == 1:
            return jnp.full(leaf.shape, "scale" in str(path) or "var" in str(path), leaf.dtype)
        return jnp.asarray(
            rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1])), leaf.dtype
        )

    params, extra = (
        jax.tree.map_with_path(fill, nnx.to_pure_dict(tree)) for tree in (params, extra)
    )
    # BatchNorm over the four pixels that Inception has left of four small images is too steep.
    least, rate = (96, 0.001) if name == "inception_v1" else (32, 0.01)
    size = max(least, MODELS[name].min_size)
    images, labels = jnp.asarray(rng.normal(size=(4, size, size, 3)), jnp.float32), jnp.arange(4)

    def loss(params):
        logits = nnx.merge(definition, params, extra)(images)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    @jax.jit
    def step(params):
        value, grads = jax.value_and_grad(loss)(params)
        return value, grads, jax.tree.map(lambda p, g: p - rate * g, params, grads)

    losses = []
    for _ in range(6):
        value, grads, params = step(params)
        losses.append(float(value))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    kernels = [(path, g) for path, g in jax.tree.leaves_with_path(grads) if g.ndim > 1]
    assert not [path for path, g in kernels if not np.any(g)]  # every layer takes part


def lax_convolution(x, kernel, strides, padding, groups):
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def ours(x, kernel, strides, padding, groups):
    return convolve(
        x,
        kernel,
        strides,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


CONVOLUTIONS = [  # size, channels, outputs, kernel, groups
    ((2, 2), 3, 4, (2, 2), 1),  # images of 2×2
    ((4, 4), 3, 4, (3, 3), 1),  # made into 2×2, where the stride and the padding do so
    ((6, 5), 4, 4, (3, 3), 4),  # depthwise
    ((5, 6), 4, 3, (1, 1), 1),
    ((7, 6), 3, 4, (3, 2), 1),  # few channels: an odd number of columns
    ((9, 5), 6, 1, (5, 5), 1),  # a kernel wider than a group of columns
    ((7, 6), 3, 8, (3, 2), 1),
    ((6, 6), 4, 8, (3, 3), 4),  # grouped, and not depthwise
]
PADDINGS = ["SAME", "VALID", ((0, 2), (1, 0))]
PAIRWISE = [  # every pair of a convolution, a stride and a padding
    (*convolution, 1 + (i + j) % 2, padding)
    for i, convolution in enumerate(CONVOLUTIONS)
    for j, padding in enumerate(PADDINGS)
]


@pytest.mark.parametrize(
    ("size", "channels", "outputs", "kernel", "groups", "stride", "padding"), PAIRWISE
)
def test_convolve_is_the_convolution_of_lax_in_value_and_gradients(
    size, channels, outputs, kernel, groups, stride, padding
):
    x = jax.random.normal(jax.random.key(0), (2, *size, channels))
    k = jax.random.normal(jax.random.key(1), (*kernel, channels // groups, outputs))
    weights = jax.random.normal(jax.random.key(2), (1, 11, 11, outputs))

    @jax.jit
    def value_and_gradients(x, k):
        results = []
        for function in (ours, lax_convolution):
            value, gradients = jax.vjp(
                lambda x, k, f=function: f(x, k, (stride, stride), padding, groups), x, k
            )
            results.append(
                (
                    value,
                    *gradients(
                        jnp.broadcast_to(
                            weights[:, : value.shape[1], : value.shape[2]], value.shape
                        )
                    ),
                )
            )
        return results

    jax.tree.map(
        lambda mine, other: np.testing.assert_allclose(mine, other, atol=1e-5),
        *value_and_gradients(x, k),
    )


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("batch", "parts"), [(128, 1), (160, 5), (161, 1)])
def test_a_kernels_gradient_of_a_large_batch_is_the_sum_of_its_parts(batch, parts, stride):
    x = jax.random.normal(jax.random.key(0), (batch, 5, 6, 7))
    k = jax.random.normal(jax.random.key(1), (3, 3, 7, 8))

    def gradient(function):
        return jax.grad(lambda k: jnp.sum(jnp.sin(function(x, k, (stride, stride), "SAME", 1))))

    mine, theirs = (jax.jit(gradient(function))(k) for function in (ours, lax_convolution))
    np.testing.assert_allclose(mine, theirs, atol=1e-3)
    in_parts = parts > 1 and jax.default_backend() == "cpu"
    assert (f"length={parts}" in str(jax.make_jaxpr(gradient(ours))(k))) == in_parts


@pytest.mark.parametrize(
    ("size", "kernel", "groups", "outputs", "other_code"),
    [
        (2, 3, 1, 4, True),
        (8, 3, 4, 4, True),
        (8, 1, 1, 3, True),
        (8, 1, 1, 8, True),
        (8, 3, 1, 4, False),
        (8, 3, 2, 4, False),
        (8, 3, 4, 8, False),
    ],
)
def test_convolve_uses_other_code_only_where_xlas_is_slow(
    size, kernel, groups, outputs, other_code
):
    x, k = jnp.zeros((1, size, size, 4)), jnp.zeros((kernel, kernel, 4 // groups, outputs))
    traced = jax.make_jaxpr(lambda x, k: ours(x, k, (1, 1), "SAME", groups))(x, k)
    assert ("conv_general_dilated" not in str(traced)) == (
        other_code and jax.default_backend() == "cpu"
    )


@pytest.mark.parametrize(
    ("channels", "outputs", "columns"), [(6, 6, 4), (3, 8, 4), (8, 8, 1), (1, 37, 1)]
)
def test_convolve_counts_columns_of_few_channels_as_one(channels, outputs, columns):
    x, k = jnp.zeros((1, 8, 8, channels)), jnp.zeros((3, 3, channels, outputs))
    traced = str(jax.make_jaxpr(lambda x, k: ours(x, k, (1, 1), "SAME", 1))(x, k))
    wide = columns if jax.default_backend() == "cpu" else 1
    assert f"f32[1,8,{8 // wide},{wide * outputs}]" in traced


def test_the_layers_of_the_networks_use_that_code():
    layer = ConvNorm(4, 8, rngs=nnx.Rngs(0))
    traced = str(jax.make_jaxpr(layer.conv)(jnp.zeros((1, 8, 8, 4))))
    assert ("conv_general_dilated" not in traced) == (jax.default_backend() == "cpu")


def test_convolve_heeds_options_that_its_own_code_does_not_know():
    x, k = (
        jax.random.normal(jax.random.key(0), (2, 8, 8, 3)),
        jax.random.normal(jax.random.key(1), (3, 3, 3, 4)),
    )
    given = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "rhs_dilation": (2, 2)}
    mine, other = (f(x, k, (1, 1), "SAME", **given) for f in (convolve, lax.conv_general_dilated))
    np.testing.assert_allclose(mine, other, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (1, 5, 7, 2)])
def test_mean_pool_is_flax_avg_pool(shape):
    x = jax.random.normal(jax.random.key(0), shape)
    np.testing.assert_allclose(mean_pool(x), nnx.avg_pool(x, (2, 2), strides=(2, 2)), atol=1e-6)
