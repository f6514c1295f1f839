"""A question that must not wait for a file on its way: both ends say how urgent what they send is."""

import trio

from p2p import Host, Identity, Priority, Stream

FILE, QUESTION = "/example/file/1", "/example/question/1"
SIZE = 2_000_000


async def send_file(stream: Stream) -> None:
    stream.priority = Priority(urgency=5)
    await stream.send_all(bytes(SIZE))


async def answer(stream: Stream) -> None:
    stream.priority = Priority(urgency=1)
    await stream.send_all(b"42" if await stream.receive_some() else b"")


async def main() -> None:
    async with (
        Host(Identity.generate(), listen=["/ip4/127.0.0.1/tcp/0"]) as bob,
        Host(Identity.generate()) as alice,
    ):
        with bob.handle(FILE, send_file), bob.handle(QUESTION, answer):
            async with await alice.open_stream(bob.addrs[0], FILE) as file:
                async with await alice.open_stream(bob.peer_id, QUESTION) as question:
                    question.priority = Priority(urgency=1)
                    await question.send_all(b"?")
                    got = await question.receive_some()
                    print(
                        f"{got.decode()}, with {file.statistics().unread < SIZE} that more of the file is to come"
                    )
                size = 0
                async for part in file:
                    size += len(part)
                print(f"{size} bytes of the file")


trio.run(main)

# Output:
# 42, with True that more of the file is to come
# 2000000 bytes of the file
