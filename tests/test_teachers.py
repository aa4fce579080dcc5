"""Teachers: deterministic, local, the same everywhere in a photo, and clear about what they cannot do."""

import subprocess
import sys

import numpy as np
import pytest
from skimage.data import chelsea

from initzoo.errors import InitzooError, InvalidConcepts, TeacherError
from initzoo.pairs.teachers import FAMILIES, OPERATORS, FilterTeacher, Operator, Step, check_step
from initzoo.pairs.teachers.filters.imaging import cells, cycle_map

EDITS = sorted(name for name, operator in OPERATORS.items() if not operator.restoration)
RESTORATIONS = sorted(name for name, operator in OPERATORS.items() if operator.restoration)

REACH = 24
"""Pixels at a shorter side of 256 beyond which nothing may matter: the image network sees no further."""


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A cat's face, 256 x 256."""
    return np.ascontiguousarray(chelsea()[20:276, 60:316])


def teach(steps: tuple[Step, ...], photo: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Input and target of one photo."""
    given, wanted = FilterTeacher(steps).edit([photo], [seed])
    return given[0], wanted[0]


def steps_at_limits(operator: Operator) -> list[Step]:
    """The operator by default, and with each number at its lowest and highest."""
    steps = [Step(operator.name)]
    for name, parameter in operator.parameters.items():
        if parameter.choices:
            steps += [Step(operator.name, ((name, choice),)) for choice in parameter.choices]
        elif not parameter.is_colour:
            steps += [Step(operator.name, ((name, limit),)) for limit in (parameter.low, parameter.high)]
    return steps


def test_every_family_has_operators_and_there_are_enough() -> None:
    assert {operator.family for operator in OPERATORS.values()} == set(FAMILIES)
    assert len(OPERATORS) >= 50
    assert all(name == operator.name and operator.summary for name, operator in OPERATORS.items())


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_operator_gives_images_at_all_its_limits(name: str, photo: np.ndarray) -> None:
    small = photo[64:160, 64:192]
    for step in steps_at_limits(OPERATORS[name]):
        given, wanted = teach((step,), small, seed=3)
        assert given.dtype == wanted.dtype == np.uint8
        assert given.shape == wanted.shape == small.shape


@pytest.mark.parametrize("name", EDITS)
def test_edit_is_local(name: str, photo: np.ndarray) -> None:
    """What lies more than REACH pixels away does not matter, whatever it is."""
    far = np.random.default_rng(0).integers(0, 256, photo.shape, dtype=np.uint8)
    centre = slice(96, 160)
    near = slice(96 - REACH, 160 + REACH)
    far[near, near] = photo[near, near]
    for step in steps_at_limits(OPERATORS[name]):
        _, first = teach((step,), photo, seed=0)
        _, second = teach((step,), far, seed=0)
        np.testing.assert_array_equal(first[centre, centre], second[centre, centre])


@pytest.mark.parametrize("name", EDITS)
def test_edit_is_the_same_everywhere(name: str, photo: np.ndarray) -> None:
    """A moved photo gives the moved target: no vignette, no random texture, no large pattern."""
    period = OPERATORS[name].period
    down, right = (7, 13) if period == 1 else (2 * period, 3 * period)
    moved = np.roll(photo, (down, right), axis=(0, 1))
    _, first = teach((Step(name),), photo, seed=0)
    _, second = teach((Step(name),), moved, seed=1)
    inside = slice(48, 200)
    np.testing.assert_allclose(
        np.roll(second, (-down, -right), axis=(0, 1))[inside, inside].astype(int),
        first[inside, inside].astype(int),
        atol=1,
    )


@pytest.mark.parametrize("name", EDITS)
def test_a_flat_photo_shows_the_pattern_of_an_operator_and_no_other(name: str) -> None:
    """A pattern longer than four pixels would be out of the image network's grasp."""
    period = OPERATORS[name].period
    assert period in (1, 4)
    flat = np.full((64, 64, 3), (150, 110, 90), dtype=np.uint8)
    _, target = teach((Step(name),), flat, seed=0)
    inside = target[24:40, 24:40].astype(int)
    for axis in (0, 1):
        np.testing.assert_allclose(inside, np.roll(inside, period, axis=axis), atol=1)


@pytest.mark.parametrize("name", [name for name in EDITS if OPERATORS[name].period > 1])
def test_a_pattern_stays_where_it_is_when_the_photo_moves(name: str, photo: np.ndarray) -> None:
    _, first = teach((Step(name),), photo, seed=0)
    _, second = teach((Step(name),), np.roll(photo, 1, axis=(0, 1)), seed=0)
    apart = np.roll(second, -1, axis=(0, 1))[48:200, 48:200].astype(int) - first[48:200, 48:200]
    assert np.abs(apart).mean() > 3


@pytest.mark.parametrize("name", EDITS)
def test_edit_changes_the_target_and_leaves_the_input(name: str, photo: np.ndarray) -> None:
    given, wanted = teach((Step(name),), photo, seed=0)
    np.testing.assert_array_equal(given, photo)
    assert np.abs(wanted.astype(int) - photo).mean() > 1


@pytest.mark.parametrize("name", RESTORATIONS)
def test_restoration_spoils_the_input_and_leaves_the_target(name: str, photo: np.ndarray) -> None:
    given, wanted = teach((Step(name),), photo, seed=0)
    np.testing.assert_array_equal(wanted, photo)
    assert np.abs(given.astype(int) - photo).mean() > 0.5


@pytest.mark.parametrize("name", RESTORATIONS)
def test_restoration_draws_its_noise_from_the_seed(name: str, photo: np.ndarray) -> None:
    once, again = (teach((Step(name),), photo, seed=5)[0] for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_another_seed_gives_other_noise(photo: np.ndarray) -> None:
    assert (teach((Step("denoise"),), photo, seed=1)[0] != teach((Step("denoise"),), photo, seed=2)[0]).any()


@pytest.mark.parametrize("name", ["blur", "smooth", "oil", "cartoon", "thicken", "motion_blur", "soft_focus"])
def test_radii_are_relative_to_the_shorter_side(name: str, photo: np.ndarray) -> None:
    """The target of an enlarged photo is the enlarged target."""
    cv2 = pytest.importorskip("cv2")
    soft = cv2.GaussianBlur(photo, (0, 0), 2)
    large = cv2.resize(soft, (768, 768), interpolation=cv2.INTER_CUBIC)
    _, small_target = teach((Step(name),), soft, seed=0)
    _, large_target = teach((Step(name),), large, seed=0)
    enlarged = cv2.resize(small_target, (768, 768), interpolation=cv2.INTER_CUBIC)
    assert np.abs(enlarged.astype(int) - large_target).mean() < 2.5


def test_steps_are_applied_in_order(photo: np.ndarray) -> None:
    first = teach((Step("blur"), Step("edges")), photo, seed=0)[1]
    second = teach((Step("edges"), Step("blur")), photo, seed=0)[1]
    assert np.abs(first.astype(int) - second).mean() > 1


def test_restoration_and_edit_together_change_input_and_target(photo: np.ndarray) -> None:
    given, wanted = teach((Step("colourise"), Step("temperature")), photo, seed=0)
    np.testing.assert_array_equal(given[..., 0], given[..., 2])
    np.testing.assert_array_equal(wanted, teach((Step("temperature"),), photo, seed=0)[1])


def test_cells_are_the_means_of_squares_even_at_the_border() -> None:
    image = np.arange(10 * 7 * 3, dtype=np.float32).reshape(10, 7, 3)
    means = cells(image, 4)
    assert means.shape == image.shape
    np.testing.assert_allclose(means[4:8, :4], np.broadcast_to(image[4:8, :4].mean(axis=(0, 1)), (4, 4, 3)))
    edge = np.concatenate([image[8:, :4], image[9:, :4], image[9:, :4]])
    np.testing.assert_allclose(means[9, 3], edge.mean(axis=(0, 1)))


def test_cycled_colours_come_round() -> None:
    colours = cycle_map(np.array([[0.0, 0.5, 1.0, 2.0]], dtype=np.float32), ("#ff0000", "#0000ff"))
    np.testing.assert_allclose(colours[0], [[1, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 0]], atol=2e-3)


def test_skin_is_smoothed_and_grass_is_not() -> None:
    grain = np.random.default_rng(0).integers(-14, 15, (64, 64, 1))
    for colour, is_skin in (((200, 150, 125), True), ((90, 140, 70), False)):
        photo = (np.array(colour) + grain).astype(np.uint8)
        _, target = teach((Step("skin_smoothing"),), photo, seed=0)
        assert (target.std(axis=(0, 1)) < 0.5 * photo.std(axis=(0, 1))).all() == is_skin
        assert np.array_equal(target, photo) != is_skin


def test_autumn_turns_leaves_and_leaves_the_sky_blue() -> None:
    photo = np.zeros((8, 16, 3), dtype=np.uint8)
    photo[:, :8], photo[:, 8:] = (70, 130, 50), (90, 140, 210)
    _, target = teach((Step("autumn"),), photo, seed=0)
    red, green, blue = target[4, 2].astype(int)
    assert red > green > blue
    red, green, blue = target[4, 13].astype(int)
    assert blue > green > red


def test_negative_is_exact() -> None:
    photo = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    np.testing.assert_array_equal(teach((Step("negative"),), photo, seed=0)[1], 255 - photo)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Step("blurr"), "unknown operator 'blurr'; closest is 'blur'"),
        (Step("blur", (("radios", 0.01),)), "operator 'blur' has no parameter 'radios'; closest is 'radius'"),
        (
            Step("blur", (("radius", 0.5),)),
            "operator 'blur', parameter 'radius': expected a number from 0.002",
        ),
        (Step("blur", (("radius", "big"),)), "expected a number from 0.002 to 0.018, found 'big'"),
        (Step("tint", (("colour", "redd"),)), "expected a colour such as '#1b2a49', found 'redd'"),
        (Step("heat_map", (("palette", "x"),)), "expected one of thermal, rainbow"),
        (Step("vibrance", (("amount", float("nan")),)), "expected a number from -1 to 3, found nan"),
    ],
)
def test_wrong_step_is_named(step: Step, words: str) -> None:
    with pytest.raises(InvalidConcepts, match=words):
        check_step(step, OPERATORS)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((8, 8), "uint8"), ((8, 8, 4), "uint8"), ((8, 8, 3), "float32")]
)
def test_what_is_no_photo_is_refused(shape: tuple[int, ...], dtype: str) -> None:
    with pytest.raises(TeacherError, match=r"a photo must be uint8 \(height, width, 3\), found"):
        teach((Step("sepia"),), np.zeros(shape, dtype=dtype), seed=0)


def test_a_broken_operator_is_named(monkeypatch: pytest.MonkeyPatch, photo: np.ndarray) -> None:
    broken = [
        (
            "test_cut",
            lambda image: image[1:],
            r"operator 'test_cut' gave \(255, 256, 3\) for an image of shape",
        ),
        (
            "test_nan",
            lambda image: image * np.float32("nan"),
            "operator 'test_nan' gave values that are not numbers",
        ),
        ("test_none", lambda image: None, "operator 'test_none' gave NoneType"),
    ]
    for name, apply, words in broken:
        monkeypatch.setitem(OPERATORS, name, Operator(name, "colour", apply, {}, "broken"))
        with pytest.raises(TeacherError, match=words) as caught:
            teach((Step(name),), photo, seed=0)
        assert isinstance(caught.value, InitzooError)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 40)])
def test_tiny_photos_work(size: tuple[int, int]) -> None:
    photo = np.full((*size, 3), 90, dtype=np.uint8)
    for name in OPERATORS:
        given, wanted = teach((Step(name),), photo, seed=0)
        assert given.shape == wanted.shape == photo.shape


def test_operators_are_listed_without_opencv() -> None:
    command = (
        "import sys, initzoo.pairs.teachers; "
        "assert 'cv2' not in sys.modules and initzoo.pairs.teachers.OPERATORS"
    )
    subprocess.run([sys.executable, "-c", command], check=True)
