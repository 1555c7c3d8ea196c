"""Expand products: an arm that is over several bases becomes one arm over each of them."""

from collections.abc import Mapping
from dataclasses import replace

from collect.checks import require
from evaluate.arms import Arm


def expanded(arms: Mapping[str, Arm]) -> dict[str, Arm]:
    """Replace every arm whose ``over`` is a list by its parts: one arm over each entry.

    Args:
        arms: The arms by name.

    Returns:
        The arms by name. The part of ``linear`` over ``cosine`` is called ``cosine_linear``, and
        stands right behind ``cosine``.

    Raises:
        UserError: A product is over an arm that does not exist, or an arm has the name of a part.

    Examples:
        >>> from evaluate import Arm
        >>> from evaluate.products import expanded
        >>> arms = {"low": Arm(learning_rate=1e-3), "high": Arm(learning_rate=1e-2)}
        >>> arms["linear"] = Arm(over=["low", "high"], forecaster="linear")
        >>> {name: arm.over for name, arm in expanded(arms).items()}
        {'low': None, 'low_linear': 'low', 'high': None, 'high_linear': 'high'}
    """
    products = {name: arm for name, arm in arms.items() if isinstance(arm.over, list)}
    found: dict[str, Arm] = {}

    def add(name: str, arm: Arm) -> None:
        found[name] = arm
        for way, each in products.items():
            if name in each.over:
                part = f"{name}_{way}"
                rule = f"the part {part} is among the arms already; leave one of them out"
                require(part not in arms and part not in found, "arm", way, rule)
                add(part, replace(each, over=name))

    for name, arm in arms.items():
        if name not in products:
            add(name, arm)
    for way, each in products.items():
        for base in each.over:
            rule = (
                f"is not among the arms; add it, or ask for one part only, such as {each.over[0]}_"
                f"{way}"
            )
            require(base in found, f"arm.{way}.over", base, rule)
    return found
