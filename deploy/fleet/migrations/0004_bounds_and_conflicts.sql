-- What a record says, told apart from when its box thought that it was: the same key with another digest is another record.
ALTER TABLE received ADD COLUMN digest bytea;
COMMENT ON COLUMN received.digest IS 'of the content without the stamps; empty: only a message that was rejected came under this key; '
    'NULL: written before this step';

-- The second content of a key and all after it, whole. The first one is in `records`.
CREATE TABLE conflicts (
    device_id text NOT NULL,
    spool_id text NOT NULL,
    seq bigint NOT NULL,
    digest bytea NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    synchronised boolean NOT NULL,
    times bigint NOT NULL DEFAULT 1,
    received_at timestamptz NOT NULL DEFAULT now(),
    last_at timestamptz NOT NULL DEFAULT now(),
    record jsonb NOT NULL,
    PRIMARY KEY (device_id, spool_id, seq, digest)
);
COMMENT ON TABLE conflicts IS 'records under a key that another record has: of a store that was restored, or of two boxes of one id';

-- Records of a schema version that this step does not know are whole in `records`, and in none of the views.
ALTER TABLE records ADD COLUMN unknown_schema text;
UPDATE records SET unknown_schema = left(record ->> 'schema', 100)
WHERE record ->> 'schema' IS DISTINCT FROM 'holonode.' || left(kind, -1) || '/1' AND record ->> 'schema' IS NOT NULL;
CREATE INDEX records_unknown_schema ON records (device_id, unknown_schema) WHERE unknown_schema IS NOT NULL;

-- The quota on what one box's rejected messages take.
ALTER TABLE rejected ADD COLUMN device_id text GENERATED ALWAYS AS (split_part(topic, '/', 3)) STORED;
ALTER TABLE rejected ADD COLUMN size bigint;
CREATE INDEX rejected_device ON rejected (device_id);
COMMENT ON COLUMN rejected.size IS 'bytes of the message; the payload of a large one is its beginning alone';
CREATE TABLE rejections (
    device_id text PRIMARY KEY,
    not_kept bigint NOT NULL DEFAULT 0,
    not_kept_bytes bigint NOT NULL DEFAULT 0,
    last_at timestamptz NOT NULL DEFAULT now(),
    last_reason text NOT NULL
);
COMMENT ON TABLE rejections IS 'of each device: how many rejected messages its quota left no room for';
INSERT INTO rejections (device_id, last_at, last_reason)
SELECT DISTINCT ON (device_id) device_id, last_at, reason FROM rejected ORDER BY device_id, last_at DESC;

-- Casts that can't fail: NULL for what isn't such a value. Whatever is in a record, a view can be read.
-- Beyond 1e30, sums over many rows, squared too, would leave double precision.
CREATE FUNCTION number_of(value jsonb) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(value) = 'number' THEN
    CASE WHEN abs(value::numeric) <= 1e30 THEN round(value::numeric, 60)::double precision END
END;
CREATE FUNCTION whole_of(value jsonb) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(value) = 'number' THEN
    CASE WHEN abs(value::numeric) <= 1e12 AND value::numeric = trunc(value::numeric) THEN value::numeric::bigint END
END;
CREATE FUNCTION flag_of(value jsonb) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN value IN ('1'::jsonb, '2'::jsonb, '3'::jsonb, '4'::jsonb, '9'::jsonb) THEN value::integer END;
CREATE FUNCTION object_of(value jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(value) = 'object' THEN value ELSE '{}'::jsonb END;
-- The years that a count of nanoseconds in 64 bits holds, which is what many readers make of a time.
CREATE FUNCTION time_of(value jsonb) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE WHEN jsonb_typeof(value) = 'string' THEN
    CASE WHEN (value #>> '{}') ~ '^(19|20|21|22)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?Z$' THEN
        CASE WHEN left(value #>> '{}', 4) < '2262' AND substr(value #>> '{}', 9, 2)::integer
                <= extract(day FROM make_date(left(value #>> '{}', 4)::integer, substr(value #>> '{}', 6, 2)::integer, 1) + interval '1 month -1 day')
            THEN (value #>> '{}')::timestamptz
        END
    END
END;

CREATE OR REPLACE VIEW detections AS
SELECT device_id, at, spool_id, seq, record ->> 'id' AS id, record ->> 'interval_id' AS interval_id, record ->> 'label' AS label,
    number_of(record -> 'score') AS score, number_of(record -> 'esd_um') AS esd_um, number_of(record -> 'x_um') AS x_um,
    number_of(record -> 'y_um') AS y_um, number_of(record -> 'z_um') AS z_um, flag_of(record -> 'qc') AS qc, record
FROM records WHERE kind = 'detections' AND unknown_schema IS NULL AND at >= '1900-01-01Z' AND at < '2262-01-01Z';

CREATE OR REPLACE VIEW intervals AS
SELECT device_id, at AS started_at, time_of(record -> 'ended_at') AS ended_at, spool_id, seq, record ->> 'id' AS id,
    record ->> 'mode' AS mode, number_of(record -> 'volume_ml') AS volume_ml, number_of(record -> 'volume_m3') AS volume_m3,
    number_of(record -> 'dead_time_s') AS dead_time_s, flag_of(record -> 'qc') AS qc, record,
    whole_of(record #> '{counts,total,n}') AS particles
FROM records WHERE kind = 'intervals' AND unknown_schema IS NULL AND at >= '1900-01-01Z' AND at < '2262-01-01Z';
COMMENT ON COLUMN intervals.particles IS 'the total, which leaves artefacts such as bubbles out';

CREATE OR REPLACE VIEW concentrations AS
SELECT i.device_id, i.started_at, i.ended_at, c.key AS label, number_of(c.value -> 'value') AS value,
    number_of(c.value -> 'low') AS low, number_of(c.value -> 'high') AS high, c.value ->> 'unit' AS unit
FROM intervals i CROSS JOIN LATERAL jsonb_each(object_of(i.record -> 'concentration')) AS c;

CREATE VIEW counts AS
SELECT i.device_id, i.started_at, i.ended_at, c.key AS label, whole_of(c.value -> 'n') AS n,
    number_of(c.value -> 'low') AS low, number_of(c.value -> 'high') AS high
FROM intervals i CROSS JOIN LATERAL jsonb_each(object_of(i.record -> 'counts')) AS c;
COMMENT ON VIEW counts IS 'by label; the label total is the sum of the others that are no artefacts';

CREATE OR REPLACE VIEW events AS
SELECT device_id, at, spool_id, seq, record ->> 'id' AS id, record ->> 'code' AS code, record ->> 'severity' AS severity,
    record ->> 'message' AS message, record -> 'value' AS value, record ->> 'unit' AS unit, record
FROM records WHERE kind = 'events' AND unknown_schema IS NULL AND at >= '1900-01-01Z' AND at < '2262-01-01Z';

GRANT SELECT, UPDATE (digest) ON received TO holonode_collector;
GRANT SELECT, INSERT, UPDATE (at, synchronised, times, last_at, record) ON conflicts TO holonode_collector;
GRANT SELECT, INSERT, UPDATE (not_kept, not_kept_bytes, last_at, last_reason) ON rejections TO holonode_collector;
GRANT SELECT ON ALL TABLES IN SCHEMA holonode TO holonode_reader;
