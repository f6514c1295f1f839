"""Row 17: X25519 points of low order, with which everybody shares the same secret."""

from __future__ import annotations

import pytest

from tests.attacks import xx

P = 2**255 - 19
POINTS = {
    "0": bytes(32),
    "1": (1).to_bytes(32, "little"),
    "of order 8": bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    "the other of order 8": bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    "p - 1": (P - 1).to_bytes(32, "little"),
    "p": P.to_bytes(32, "little"),
    "p + 1": (P + 1).to_bytes(32, "little"),
}
#: The highest bit of a point means nothing.
POINTS |= {
    f"{name}, with the high bit": point[:31] + bytes([point[31] | 0x80]) for name, point in POINTS.items()
}


@pytest.mark.lifted(patches={"p2p.security.noise.xx:_shared": "lifts.sharing_nothing(original)"})
async def test_row_17_low_order_points(attack):
    """As ephemeral and as static key, of a dialer and of a responder."""
    async with attack() as scene:
        assert not xx.others(
            await xx.outcomes(scene, {"honest": xx.Hand()}, {"honest": xx.Hand()}), xx.ACCEPTED
        )
        hands = {
            f"{name} as {kind} key": xx.Hand(**{kind: xx.LowOrder(point)})
            for name, point in POINTS.items()
            for kind in ("ephemeral", "static")
        }
        wrong = xx.others(await xx.outcomes(scene, hands, hands), xx.REFUSED)
        assert not wrong, "\n".join(wrong)
