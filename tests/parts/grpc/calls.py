"""A gRPC server without generated code, and a client of it: every kind of call, metadata, status and deadline.

calls.py serve ADDRESS                     answers
calls.py call ADDRESS CA COOKIE USER       calls, signed in by the cookie, and expects to be known as USER
"""

import sys
import threading
from concurrent import futures

import grpc


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    context.set_trailing_metadata((("x-seen-user", metadata.get("x-forwarded-user", "nobody")),))
    return request[::-1]


def fails(request, context):
    context.set_trailing_metadata((("x-why", "because"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not like this: \u00e9")


def counts(request, context):
    for at in range(int(request)):
        yield str(at).encode()


def collects(requests, context):
    return b"".join(requests)


def talks(requests, context):
    context.send_initial_metadata((("x-begun", "yes"),))
    for request in requests:
        yield b"you said " + request


def hangs(request, context):
    context.add_callback(lambda: print("gone", flush=True))
    threading.Event().wait(30)
    return b""


def serve(address):
    server = grpc.server(futures.ThreadPoolExecutor(20))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Calls", {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Fails": grpc.unary_unary_rpc_method_handler(fails),
        "Counts": grpc.unary_stream_rpc_method_handler(counts),
        "Collects": grpc.stream_unary_rpc_method_handler(collects),
        "Talks": grpc.stream_stream_rpc_method_handler(talks),
        "Hangs": grpc.unary_unary_rpc_method_handler(hangs),
    }),))
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


def call(address, ca, cookie, user):
    credentials = grpc.ssl_channel_credentials(open(ca, "rb").read())
    with grpc.secure_channel(address, credentials) as channel:
        sent = (("x-forwarded-user", "mallory"), ("cookie", cookie))
        answer, ended = channel.unary_unary("/test.Calls/Unary").with_call(b"hello", metadata=sent)
        assert answer == b"olleh" and dict(ended.trailing_metadata())["x-seen-user"] == user
        answer, ended = channel.unary_unary("/test.Calls/Unary").with_call(b"hello", metadata=sent[:1])
        assert answer == b"olleh" and dict(ended.trailing_metadata())["x-seen-user"] == "nobody"
        big = bytes(range(256)) * 8000
        assert channel.unary_unary("/test.Calls/Unary")(big) == big[::-1]
        try:
            channel.unary_unary("/test.Calls/Fails")(b"")
            raise AssertionError("it fails")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
            assert error.details() == "not like this: \u00e9" and dict(error.trailing_metadata())["x-why"] == "because"
        counted = list(channel.unary_stream("/test.Calls/Counts")(b"5000"))
        assert counted == [str(at).encode() for at in range(5000)]
        assert channel.stream_unary("/test.Calls/Collects")(iter([b"a"] * 5000)) == b"a" * 5000
        said, waits = [], threading.Semaphore(0)

        def requests():
            for word in [b"one", b"two", b"three"]:
                yield word
                # Only after the answer to this word comes the next one.
                assert waits.acquire(timeout=10)

        talk = channel.stream_stream("/test.Calls/Talks")(requests())
        assert dict(talk.initial_metadata())["x-begun"] == "yes"
        for answer in talk:
            said.append(answer)
            waits.release()
        assert said == [b"you said one", b"you said two", b"you said three"], said
        try:
            channel.unary_unary("/test.Calls/Hangs")(b"", timeout=0.5)
            raise AssertionError("it does not answer")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
        parallel = [channel.unary_unary("/test.Calls/Unary").future(str(at).encode()) for at in range(500)]
        assert [one.result() for one in parallel] == [str(at).encode()[::-1] for at in range(500)]
    print("every call was answered as it should be")


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])
