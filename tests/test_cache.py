"""The memory of answers."""

from app.cache import ENTRY_BYTES, Answer, AnswerCache


def answer(size: int) -> Answer:
    return Answer({"etag": '"x"'}, bytes(size))


def test_it_forgets_what_was_not_asked_for_the_longest() -> None:
    cache = AnswerCache(3 * (ENTRY_BYTES + 1 + 100))
    for address in (b"a", b"b", b"c"):
        cache.put(address, answer(100))
    assert cache.get(b"a") is not None
    cache.put(b"d", answer(100))
    assert [address for address in (b"a", b"b", b"c", b"d") if cache.get(address)] == [b"a", b"c", b"d"]


def test_its_size_is_bounded_and_counted() -> None:
    cache = AnswerCache(50_000)
    for k in range(300):
        cache.put(str(k % 90).encode(), answer(k * 7))
        assert cache.size <= 50_000
    while len(cache):
        cache.put(b"large", answer(60_000))  # larger than the whole: it empties the cache and does not stay
    assert cache.size == 0


def test_no_room_keeps_nothing() -> None:
    cache = AnswerCache(0)
    cache.put(b"a", answer(1))
    assert cache.get(b"a") is None
