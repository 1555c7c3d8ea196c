"""Arms that are a product: one way to train, over each of several bases."""

from collections.abc import Mapping
from dataclasses import replace

from collect.checks import require
from evaluate.arms import Arm


def expanded(arms: Mapping[str, Arm]) -> dict[str, Arm]:
    """The arms with every product in parts: an arm whose ``over`` is a list becomes one over each.

    Args:
        arms: By name.

    Returns:
        The arms by name. The part over ``cosine`` of the product ``linear`` is ``cosine_linear``;
        parts follow what they are over.

    Raises:
        UserError: A product is over an arm that is not there, or one of its parts is there already.

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
                f"is not among the arms; add it, or ask for a part alone, such as {each.over[0]}_"
                f"{way}"
            )
            require(base in found, f"arm.{way}.over", base, rule)
    return found
