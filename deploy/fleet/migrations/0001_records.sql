-- The key of a record is (device_id, spool_id, seq). `received` keeps it for ever; `records` holds the records and has no
-- unique index of its own, so that it can be cut into chunks of time (see 0003).
CREATE TABLE received (
    device_id text NOT NULL,
    spool_id text NOT NULL,
    seq bigint NOT NULL CHECK (seq >= 1),
    at timestamptz NOT NULL,
    synchronised boolean NOT NULL,
    PRIMARY KEY (device_id, spool_id, seq)
);
COMMENT ON COLUMN received.at IS 'as in records, which is how the record is found there; of a rejected one, when it came';
COMMENT ON COLUMN received.synchronised IS 'the wall clock was: such a record is never replaced';

CREATE TABLE records (
    device_id text NOT NULL,
    spool_id text NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('detections', 'intervals', 'events')),
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    record jsonb NOT NULL
);
CREATE INDEX records_device_at ON records (device_id, at);
CREATE INDEX records_kind_at ON records (kind, at);
COMMENT ON COLUMN records.at IS 'captured_at, started_at or since of the record';
COMMENT ON COLUMN records.record IS 'the whole record as it came, fields this version does not know among them';

CREATE TABLE spools (
    device_id text NOT NULL,
    spool_id text NOT NULL,
    committed_to bigint NOT NULL DEFAULT 0,
    highest bigint NOT NULL,
    last_at timestamptz NOT NULL,
    last_received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_id, spool_id)
);
COMMENT ON COLUMN spools.committed_to IS 'every seq up to this one is here';

CREATE TABLE rejected (
    topic text NOT NULL,
    sha256 bytea NOT NULL,
    reason text NOT NULL,
    payload bytea NOT NULL,
    times bigint NOT NULL DEFAULT 1,
    first_at timestamptz NOT NULL DEFAULT now(),
    last_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, sha256)
);

-- The end of the unbroken run that starts at `known`: as long as nothing is missing, the numbers above it are known + 1, known + 2,
-- ... Ten thousand at a time, for there may be any number of them behind a gap; what is left over is found the next time.
CREATE FUNCTION contiguous_to(device text, spool text, known bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce(max(seq), known) FROM (
        SELECT seq, known + row_number() OVER (ORDER BY seq) AS expected FROM (
            SELECT seq FROM received WHERE device_id = device AND spool_id = spool AND seq > known ORDER BY seq LIMIT 10000
        ) above
    ) numbered WHERE seq = expected
$$;

CREATE VIEW detections AS
SELECT device_id, at, spool_id, seq, record ->> 'id' AS id, record ->> 'interval_id' AS interval_id, record ->> 'label' AS label,
    (record ->> 'score')::double precision AS score, (record ->> 'esd_um')::double precision AS esd_um,
    (record ->> 'x_um')::double precision AS x_um, (record ->> 'y_um')::double precision AS y_um,
    (record ->> 'z_um')::double precision AS z_um, (record ->> 'qc')::integer AS qc, record
FROM records WHERE kind = 'detections';

CREATE VIEW intervals AS
SELECT device_id, at AS started_at, (record ->> 'ended_at')::timestamptz AS ended_at, spool_id, seq, record ->> 'id' AS id,
    record ->> 'mode' AS mode, (record ->> 'volume_ml')::double precision AS volume_ml,
    (record ->> 'volume_m3')::double precision AS volume_m3, (record ->> 'dead_time_s')::double precision AS dead_time_s,
    (record ->> 'qc')::integer AS qc, record
FROM records WHERE kind = 'intervals';

CREATE VIEW concentrations AS
SELECT i.device_id, i.started_at, i.ended_at, c.key AS label, (c.value ->> 'value')::double precision AS value,
    (c.value ->> 'low')::double precision AS low, (c.value ->> 'high')::double precision AS high, c.value ->> 'unit' AS unit
FROM intervals i CROSS JOIN LATERAL jsonb_each(i.record -> 'concentration') AS c;

CREATE VIEW events AS
SELECT device_id, at, spool_id, seq, record ->> 'id' AS id, record ->> 'code' AS code, record ->> 'severity' AS severity,
    record ->> 'message' AS message, record -> 'value' AS value, record ->> 'unit' AS unit, record
FROM records WHERE kind = 'events';
