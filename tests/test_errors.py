from mplib.errors import MplibError, unknown


def test_names_the_nearest_known_name_and_all_of_them() -> None:
    message = str(unknown("network", "resnet2", ["resnet20", "conv4"]))
    assert (
        "unknown network 'resnet2'" in message
        and "did you mean 'resnet20'?" in message
        and "conv4, resnet20" in message
    )


def test_guesses_nothing_when_nothing_is_near() -> None:
    assert "did you mean" not in str(unknown("network", "zzz", ["conv4"]))


def test_is_a_value_error() -> None:
    assert issubclass(MplibError, ValueError)
