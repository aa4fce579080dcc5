"""Expected ranges: they hold what they promise, never rise with distance, and survive the disk."""

import hashlib
import json

import numpy as np
import pytest
from zoo_fixtures import cut_off, flipped, outcome

from initzoo.errors import InitzooError, InvalidGenerator, OutputError
from initzoo.generator.calibration import Calibration, PsnrRanges, calibrate
from initzoo.generator.encoders import WordsEncoder
from initzoo.generator.novelty import TaughtWords
from initzoo.generator.request import Request
from initzoo.generator.tokens import TokenVectors

GENERATOR = "a" * 64


def drawn(n_concepts, seed, *, n_wordings=2, slope=-20.0, noise=2.0):
    rng = np.random.default_rng(seed)
    distances = rng.uniform(0, 0.5, n_concepts * n_wordings)
    psnr = 28 + slope * distances + noise * rng.standard_normal(len(distances))
    return distances, psnr, [f"c{number // n_wordings}" for number in range(len(distances))]


def ranges_of(distances, psnr, concepts, **changes):
    options = {"near": list(distances), "meaningless": [12.0, 13.0, 14.0]} | changes
    return calibrate(list(distances), list(psnr), concepts, **options)


@pytest.fixture
def calibration():
    vectors = TokenVectors.tiny(["navy", "gold", "fog", "asdf"], n_values=8)
    taught = TaughtWords.from_wordings(vectors, [["navy fog"], ["gold"]])
    return WordsEncoder(vectors), Calibration(taught, ranges_of(*drawn(40, 0)), vectors.digest, GENERATOR)


def test_ranges_hold_what_they_promise_on_fresh_concepts():
    ranges = ranges_of(*drawn(200, 0), level=0.9)
    distances, psnr, _ = drawn(2000, 1)
    inside = [ranges.at(x)[0] <= y <= ranges.at(x)[1] for x, y in zip(distances, psnr, strict=True)]
    assert 0.87 < np.mean(inside) < 0.96
    assert abs(ranges.coverage - np.mean(inside)) < 0.06


def test_ranges_are_as_wide_as_the_noise_asks_for():
    ranges = ranges_of(*drawn(2000, 0, noise=2.0), level=0.9)
    low, high = ranges.at(0.2)
    assert high - low == pytest.approx(2 * 1.645 * 2.0, rel=0.1)
    assert (low + high) / 2 == pytest.approx(28 - 20 * 0.2, abs=0.3)


def test_coverage_is_counted_on_concepts_that_did_not_calibrate():
    distances, psnr, concepts = drawn(60, 0)
    ranges = ranges_of(distances, psnr, concepts, seed=3)
    assert ranges.n_calibrated == ranges.n_tested == 60  # wordings: half of 60 concepts, two each


def test_ranges_never_rise_with_distance_and_end_at_meaningless_words():
    rising = ranges_of(*drawn(50, 0, slope=+20.0))
    ends = np.array([rising.at(x) for x in np.linspace(0, 1, 50)])
    assert (np.diff(ends, axis=0) <= 1e-9).all()
    assert rising.at(1.0)[1] <= 14.0
    assert rising.at(1.0)[0] >= 11.0


def test_calibration_needs_concepts_to_halve():
    with pytest.raises(ValueError, match="at least 4 held-out concepts, found 3"):
        ranges_of(*drawn(3, 0))


def test_calibration_says_what_to_expect(calibration):
    _, made = calibration
    near, far = made.expect(Request("navy gold")), made.expect(Request("asdf"))
    assert near.distance < far.distance
    assert (near.is_far, far.is_far) == (False, True)
    assert near.low > far.low
    assert near.high > far.high


def test_calibration_comes_back_from_disk(calibration, tmp_path):
    encoder, made = calibration
    made.save(tmp_path)
    found = Calibration.load(tmp_path, encoder, generator_sha256=GENERATOR)
    assert found.ranges == made.ranges
    assert found.expect(Request("navy")) == made.expect(Request("navy"))
    assert found.to_bytes() == made.to_bytes()
    with pytest.raises(OutputError, match="exists already"):
        made.save(tmp_path)


def test_calibration_of_other_token_vectors_is_refused(calibration, tmp_path):
    _, made = calibration
    made.save(tmp_path)
    other = WordsEncoder(TokenVectors.tiny(["navy"], n_values=8))
    with pytest.raises(InvalidGenerator, match="made with other token vectors"):
        Calibration.load(tmp_path, other, generator_sha256=GENERATOR)


def test_calibration_of_another_generator_is_refused(calibration, tmp_path):
    encoder, made = calibration
    made.save(tmp_path)
    with pytest.raises(InvalidGenerator, match="made for another weight generator"):
        Calibration.load(tmp_path, encoder, generator_sha256="b" * 64)


def test_damage_to_a_calibration_is_found(calibration, tmp_path):
    encoder, made = calibration
    path = tmp_path / "calibration.json"
    data = made.to_bytes()

    def load():
        digest = hashlib.sha256(data).hexdigest()
        return Calibration.load(tmp_path, encoder, generator_sha256=GENERATOR, digest=digest)

    for damaged in [*flipped(data, 40, seed=0), *cut_off(data, 10), b"{}", json.dumps([]).encode()]:
        path.write_bytes(damaged)
        assert outcome(load) is InvalidGenerator
    path.unlink()
    with pytest.raises(InitzooError, match="cannot be read"):
        load()


def test_no_expected_psnr_is_below_zero():
    ranges = PsnrRanges((0.0, 0.8, 1.0), (15.0, -3.3, -20.0), (38.0, 20.0, -1.0), 0.3, 0.9, 0.9, 9, 9)
    assert ranges.at(0.0) == (15.0, 38.0)
    assert ranges.at(0.8) == (0.0, 20.0)
    assert ranges.at(1.0) == (0.0, 0.0)
    for distance in np.linspace(0, 1, 50):
        low, high = ranges.at(float(distance))
        assert 0 <= low <= high


def test_the_bundled_zoo_expects_no_negative_psnr():
    from initzoo.zoo.zoo import Zoo

    zoo = Zoo.from_pretrained("starter")
    for words in ("asdf qwer", "faded teal charcoal", "zzz"):
        expected = zoo.expect(words)
        assert expected is not None
        assert expected.low >= 0
