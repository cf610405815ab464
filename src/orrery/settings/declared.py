"""Every setting of a server, and every limit of a tenant: a name, a default, what it means.

docs/configuration.md is written from these structs.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

Acknowledgement = Literal["fsynced", "memory"]
TranslationStrategy = Literal[
    "UnderscoreEscapingWithSuffixes", "NoUTF8EscapingWithSuffixes", "NoTranslation"
]


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one tenant may use; ``[limits]`` holds the defaults, a tenant may override each."""

    active_series: Annotated[
        int, Meta(ge=0, description="series with a recent sample; 0: no limit")
    ] = 1_000_000
    new_series_per_second: Annotated[
        int, Meta(ge=0, description="series registered for the first time; 0: no limit")
    ] = 50_000
    samples_per_second: Annotated[
        int,
        Meta(ge=0, description="samples written, a burst of ten seconds allowed; 0: no limit"),
    ] = 0
    samples_per_day: Annotated[
        int, Meta(ge=0, description="samples written in one UTC day; 0: no limit")
    ] = 0
    sample_age_seconds: Annotated[
        int, Meta(ge=0, description="how old a written sample may be; 0: any age, 1970 included")
    ] = 0
    sample_future_seconds: Annotated[
        int, Meta(ge=0, description="how far ahead of this server's clock a sample may be")
    ] = 600
    label_count: Annotated[int, Meta(ge=1, le=1024, description="labels of one series")] = 64
    label_bytes: Annotated[
        int, Meta(ge=1, le=64 * KIB, description="length of one label's name or value")
    ] = 4096
    query_series: Annotated[
        int, Meta(ge=0, description="series one query may touch; 0: no limit")
    ] = 500_000
    query_samples: Annotated[
        int, Meta(ge=0, description="samples one query may read; 0: no limit")
    ] = 500_000_000
    query_seconds: Annotated[
        float, Meta(gt=0, le=86_400, description="how long one query may run")
    ] = 120.0
    retention_seconds: Annotated[
        int,
        Meta(
            ge=0,
            description="how long samples are kept and how old a written one may be; 0: for ever",
        ),
    ] = 0
    downsampling: Annotated[
        str,
        Meta(
            pattern=r"^([0-9]+[smhd](:[0-9]+(\.[0-9]+)?[smhdwy])?(,(?!$)|$))*$",
            description="buckets that samples are rolled up to, and how long each is kept: "
            '`"5m:90d,1h:2y,1d"`; without a time for ever; empty: none',
        ),
    ] = ""
    acknowledgement: Annotated[
        Acknowledgement,
        Meta(description="what a 2xx promises: `fsynced`, or `memory` (lost in a power cut)"),
    ] = "fsynced"


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``orrery serve`` runs with."""

    data_dir: Annotated[
        str, Meta(min_length=1, description="directory that holds everything stored")
    ] = "./data"
    http: Annotated[
        str, Meta(description="address HTTP is served on, `host:port`; port 0 picks a free one")
    ] = "127.0.0.1:7070"
    tls_certificate_file: Annotated[
        str | None, Meta(description="PEM chain; with `tls_key_file` turns HTTPS on")
    ] = None
    tls_key_file: Annotated[str | None, Meta(description="PEM private key, not encrypted")] = None

    auth: Annotated[
        Literal["none", "token"],
        Meta(description="`none`: anyone who reaches the port, on loopback; or `token`"),
    ] = "none"
    auth_none_forced: Annotated[
        bool, Meta(description='lets `auth = "none"` listen beyond loopback')
    ] = False
    http_allow_host: Annotated[
        tuple[str, ...],
        Meta(description="names besides loopback's that Host and Origin may carry"),
    ] = ()
    metrics_open: Annotated[
        bool, Meta(description='serves `/metrics` without a token when `auth = "token"`')
    ] = False
    control_recheck_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=60,
            description="how long a change of tokens or limits made by another process may go "
            "unseen; 0: looked for on each request",
        ),
    ] = 0.0

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="least severe line logged")
    ] = "info"
    http_log_requests: Annotated[
        bool, Meta(description="logs every request, not only slow ones")
    ] = False
    http_slow_seconds: Annotated[
        float, Meta(gt=0, description="a request slower than this is logged")
    ] = 10.0
    query_slow_seconds: Annotated[
        float, Meta(gt=0, description="a query slower than this is logged with its text")
    ] = 5.0

    http_header_bytes_max: Annotated[
        int, Meta(ge=1024, le=MIB, description="request line and headers")
    ] = 64 * KIB
    http_header_seconds_max: Annotated[
        float, Meta(gt=0, description="from the first byte to the end of the headers")
    ] = 10.0
    http_body_bytes_max: Annotated[
        int, Meta(ge=1, le=GIB, description="a request body as sent")
    ] = 32 * MIB
    http_body_decompressed_bytes_max: Annotated[
        int, Meta(ge=1, le=4 * GIB, description="a request body with its encoding taken off")
    ] = 128 * MIB
    http_body_seconds_max: Annotated[
        float, Meta(gt=0, description="from the headers to the end of the body")
    ] = 60.0
    http_bodies_bytes_max: Annotated[
        int, Meta(ge=1, description="all request bodies in memory together; 503 beyond")
    ] = 512 * MIB
    http_connections_max: Annotated[
        int, Meta(ge=1, le=1_000_000, description="open connections; 503 and close beyond")
    ] = 4096
    http_requests_max: Annotated[
        int, Meta(ge=1, le=1_000_000, description="requests being served at once; 503 beyond")
    ] = 512
    http_keep_alive_seconds: Annotated[
        float, Meta(gt=0, description="an idle connection is closed after this")
    ] = 75.0
    http_stall_seconds_max: Annotated[
        float, Meta(gt=0, description="a client that reads no answer for this long is cut off")
    ] = 60.0
    http_gzip_bytes_min: Annotated[
        int, Meta(ge=0, description="answers this large are gzipped where accepted; 0: never")
    ] = 4 * KIB
    http_grace_seconds: Annotated[
        float, Meta(ge=0, description="how long requests may finish when the server stops")
    ] = 15.0
    http_threads: Annotated[
        int, Meta(ge=1, le=256, description="threads that take off and put on body encodings")
    ] = 2

    stream_connections_max: Annotated[
        int, Meta(ge=1, le=1_000_000, description="open connections of one TCP wire; closed beyond")
    ] = 1024
    stream_line_bytes_max: Annotated[
        int, Meta(ge=256, le=MIB, description="a line of a TCP wire; longer: closed")
    ] = 64 * KIB
    stream_held_bytes_max: Annotated[
        int, Meta(ge=MIB, description="unfinished lines and frames of all TCP wires; closed beyond")
    ] = 64 * MIB
    stream_first_seconds_max: Annotated[
        float,
        Meta(gt=0, description="from connecting over a TCP wire to the end of the first line"),
    ] = 300.0
    stream_frame_seconds_max: Annotated[
        float, Meta(gt=0, description="from the first byte of a later line or frame to its end")
    ] = 120.0
    stream_idle_seconds_max: Annotated[
        float, Meta(gt=0, description="a silent connection of a TCP wire is closed after this")
    ] = 3600.0
    stream_stall_seconds_max: Annotated[
        float, Meta(gt=0, description="a TCP peer that reads no answer for this long is cut off")
    ] = 60.0
    stream_grace_seconds: Annotated[
        float, Meta(ge=0, description="how long lines taken in may finish when the server stops")
    ] = 15.0
    datagram_queue_bytes_max: Annotated[
        int, Meta(ge=64 * KIB, description="datagrams of one UDP wire that wait; dropped beyond")
    ] = 16 * MIB
    datagram_queue_count_max: Annotated[
        int, Meta(ge=1, description="how many of them wait at most; dropped beyond")
    ] = 65_536
    datagram_socket_bytes: Annotated[
        int, Meta(ge=0, description="receive buffer asked of the system for a UDP wire; 0: its own")
    ] = 4 * MIB
    datagram_grace_seconds: Annotated[
        float, Meta(ge=0, description="how long datagrams taken in may finish at a stop")
    ] = 5.0

    graphite_tcp: Annotated[
        tuple[str, ...],
        Meta(
            description="addresses Graphite's lines are taken at, `host:port` or `host:port=tenant`"
        ),
    ] = ()
    graphite_udp: Annotated[
        tuple[str, ...], Meta(description="the same for its lines in datagrams")
    ] = ()
    graphite_pickle: Annotated[
        tuple[str, ...], Meta(description="the same for its pickles over TCP")
    ] = ()
    graphite_pickle_bytes_max: Annotated[
        int, Meta(ge=KIB, le=16 * MIB, description="one pickle; longer: closed")
    ] = MIB
    graphite_tls: Annotated[
        bool, Meta(description="serves Graphite's TCP with the certificate of HTTPS")
    ] = False

    opentsdb_telnet: Annotated[
        tuple[str, ...],
        Meta(
            description="addresses OpenTSDB's telnet commands are served on, `host:port` or "
            "`host:port=tenant`; none: not served"
        ),
    ] = ()
    opentsdb_telnet_tls: Annotated[
        bool, Meta(description="serves them with the certificate of HTTPS")
    ] = False

    ingest_threads: Annotated[
        int, Meta(ge=1, le=256, description="threads that decode and resolve writes")
    ] = 2
    ingest_requests_max: Annotated[
        int, Meta(ge=1, description="writes being decoded or waiting for it; 503 beyond")
    ] = 64
    log_segment_bytes_max: Annotated[
        int, Meta(ge=MIB, le=4 * GIB, description="size at which a log segment is closed")
    ] = 64 * MIB
    log_queue_bytes_max: Annotated[
        int, Meta(ge=MIB, description="records waiting for the disk; 503 beyond")
    ] = 64 * MIB
    log_replay_bytes_max: Annotated[
        int, Meta(ge=MIB, description="unflushed log at which the head is flushed")
    ] = 512 * MIB
    head_bytes_max: Annotated[
        int, Meta(ge=MIB, description="memory of recent samples at which the head is flushed")
    ] = 512 * MIB
    head_window_seconds: Annotated[
        int, Meta(ge=60, description="time range of a block cut from the head")
    ] = 7200
    series_idle_seconds: Annotated[
        int, Meta(ge=60, description="a series without a sample for this long is not active")
    ] = 3600
    disk_free_bytes_min: Annotated[
        int, Meta(ge=0, description="writes are refused (503) with less free disk than this")
    ] = GIB
    compaction_seconds: Annotated[
        float, Meta(gt=0, description="how often blocks are looked over for compaction")
    ] = 60.0
    block_range_seconds_max: Annotated[
        int,
        Meta(
            ge=3600,
            description="longest time range of a compacted block; beyond two days only blocks "
            "are merged whose series have fewer than 2,048 samples each on average",
        ),
    ] = 16 * 86_400
    scrub_days: Annotated[
        float,
        Meta(ge=0, description="every block is read and checked once in so many days; 0: never"),
    ] = 7.0
    clock_jump_hold_seconds: Annotated[
        float,
        Meta(
            ge=0,
            description="how long the wall clock must stand after a jump of more than an hour "
            "until retention follows it; 0: at once",
        ),
    ] = 86_400.0
    object_grace_seconds: Annotated[
        float, Meta(ge=0, description="files no longer listed are removed after this")
    ] = 300.0

    query_threads: Annotated[int, Meta(ge=1, le=256, description="threads that run queries")] = 2
    query_concurrent_max: Annotated[
        int, Meta(ge=1, description="queries running or waiting for a thread; 503 beyond")
    ] = 64
    result_cache_bytes_max: Annotated[
        int, Meta(ge=0, description="answers of range queries kept in memory; 0: none")
    ] = 134_217_728

    warp10_time_unit: Annotated[
        Literal["us", "ms", "ns"],
        Meta(description="unit of times that Warp 10's clients send and are sent"),
    ] = "us"

    host_metrics_seconds: Annotated[
        float, Meta(ge=0, description="writes this host's own metrics this often; 0: never")
    ] = 0.0
    host_metrics_tenant: Annotated[
        str, Meta(min_length=1, max_length=150, description="tenant this host's metrics belong to")
    ] = "default"
    usage_seconds: Annotated[
        float, Meta(ge=0, description="writes each tenant's usage as series this often; 0: never")
    ] = 60.0

    otlp_grpc: Annotated[
        str,
        Meta(
            description="address OTLP is served on over gRPC, `host:port` (4317 is usual); "
            "empty: nowhere; needs `pip install 'orrery-db[grpc]'`"
        ),
    ] = ""
    otlp_translation_strategy: Annotated[
        TranslationStrategy,
        Meta(description="how OTLP metrics and attributes are called, as Prometheus 3 does"),
    ] = "UnderscoreEscapingWithSuffixes"
    otlp_promote_resource_attributes: Annotated[
        tuple[str, ...],
        Meta(description="OTLP resource attributes that become labels of every series"),
    ] = ()
    otlp_promote_all_resource_attributes: Annotated[
        bool, Meta(description="all of them do, but for those to ignore")
    ] = False
    otlp_ignore_resource_attributes: Annotated[
        tuple[str, ...],
        Meta(description="OTLP resource attributes that do not, where all others do"),
    ] = ()
    otlp_keep_identifying_resource_attributes: Annotated[
        bool,
        Meta(description="`target_info` repeats service.name, .namespace and .instance.id"),
    ] = False
    otlp_promote_scope_metadata: Annotated[
        bool, Meta(description="OTLP scopes become `otel_scope_*` labels of every series")
    ] = False

    limits: Limits = msgspec.field(default_factory=Limits)

    def __post_init__(self) -> None:
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError(
                "tls_certificate_file and tls_key_file are given together or not at all"
            )
        if self.graphite_tls and self.tls_certificate_file is None:
            raise ValueError("graphite_tls needs tls_certificate_file and tls_key_file")
        if self.opentsdb_telnet_tls and self.tls_certificate_file is None:
            raise ValueError("opentsdb_telnet_tls needs tls_certificate_file and tls_key_file")
        if self.otlp_promote_all_resource_attributes and self.otlp_promote_resource_attributes:
            raise ValueError(
                "otlp_promote_all_resource_attributes and otlp_promote_resource_attributes "
                "exclude each other"
            )
        if self.otlp_ignore_resource_attributes and not self.otlp_promote_all_resource_attributes:
            raise ValueError(
                "otlp_ignore_resource_attributes needs otlp_promote_all_resource_attributes"
            )
