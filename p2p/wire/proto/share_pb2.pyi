# ruff: noqa
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Hello(_message.Message):
    __slots__ = ("share_id", "nonce", "proof")
    SHARE_ID_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    share_id: bytes
    nonce: bytes
    proof: bytes
    def __init__(self, share_id: _Optional[bytes] = ..., nonce: _Optional[bytes] = ..., proof: _Optional[bytes] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("status", "proof", "entries", "size", "chunk_size")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REFUSED: _ClassVar[Answer.Status]
        ACCEPTED: _ClassVar[Answer.Status]
        BUSY: _ClassVar[Answer.Status]
    REFUSED: Answer.Status
    ACCEPTED: Answer.Status
    BUSY: Answer.Status
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_SIZE_FIELD_NUMBER: _ClassVar[int]
    status: Answer.Status
    proof: bytes
    entries: int
    size: int
    chunk_size: int
    def __init__(self, status: _Optional[_Union[Answer.Status, str]] = ..., proof: _Optional[bytes] = ..., entries: _Optional[int] = ..., size: _Optional[int] = ..., chunk_size: _Optional[int] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("path", "kind", "size", "sha256")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FILE: _ClassVar[Entry.Kind]
        EXECUTABLE: _ClassVar[Entry.Kind]
        FOLDER: _ClassVar[Entry.Kind]
    FILE: Entry.Kind
    EXECUTABLE: Entry.Kind
    FOLDER: Entry.Kind
    PATH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    path: bytes
    kind: Entry.Kind
    size: int
    sha256: bytes
    def __init__(self, path: _Optional[bytes] = ..., kind: _Optional[_Union[Entry.Kind, str]] = ..., size: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("entries", "chunks")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    chunks: bytes
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping[str, object]]]] = ..., chunks: _Optional[bytes] = ...) -> None: ...

class Request(_message.Message):
    __slots__ = ("kind", "chunk")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CHUNK: _ClassVar[Request.Kind]
        DONE: _ClassVar[Request.Kind]
    CHUNK: Request.Kind
    DONE: Request.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    kind: Request.Kind
    chunk: int
    def __init__(self, kind: _Optional[_Union[Request.Kind, str]] = ..., chunk: _Optional[int] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("status", "path")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CHUNK: _ClassVar[Reply.Status]
        CHANGED: _ClassVar[Reply.Status]
    CHUNK: Reply.Status
    CHANGED: Reply.Status
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    status: Reply.Status
    path: bytes
    def __init__(self, status: _Optional[_Union[Reply.Status, str]] = ..., path: _Optional[bytes] = ...) -> None: ...
