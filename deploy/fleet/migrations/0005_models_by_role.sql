-- Version 2 of the records: a detection's models by role. Both versions are in the views. Old collectors go on while this step
-- is applied and mark what is of version 2 as unknown: it is known from here on, whoever wrote it.
CREATE FUNCTION is_known(unknown_schema text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN unknown_schema IS NULL OR unknown_schema IN ('holonode.detection/2', 'holonode.interval/2', 'holonode.event/2');
-- The models by role, whichever version a detection is of: version 1 had two slots, null where nobody took that part.
CREATE FUNCTION models_of(record jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN record ->> 'schema' = 'holonode.detection/1' THEN jsonb_strip_nulls(object_of(record -> 'model'))
    ELSE object_of(record -> 'models') END;

CREATE OR REPLACE VIEW detections AS
SELECT device_id, at, spool_id, seq, record ->> 'id' AS id, record ->> 'interval_id' AS interval_id, record ->> 'label' AS label,
    number_of(record -> 'score') AS score, number_of(record -> 'esd_um') AS esd_um, number_of(record -> 'x_um') AS x_um,
    number_of(record -> 'y_um') AS y_um, number_of(record -> 'z_um') AS z_um, flag_of(record -> 'qc') AS qc, record,
    models_of(record) AS models
FROM records WHERE kind = 'detections' AND is_known(unknown_schema) AND at >= '1900-01-01Z' AND at < '2262-01-01Z';

CREATE OR REPLACE VIEW intervals AS
SELECT device_id, at AS started_at, time_of(record -> 'ended_at') AS ended_at, spool_id, seq, record ->> 'id' AS id,
    record ->> 'mode' AS mode, number_of(record -> 'volume_ml') AS volume_ml, number_of(record -> 'volume_m3') AS volume_m3,
    number_of(record -> 'dead_time_s') AS dead_time_s, flag_of(record -> 'qc') AS qc, record,
    whole_of(record #> '{counts,total,n}') AS particles
FROM records WHERE kind = 'intervals' AND is_known(unknown_schema) AND at >= '1900-01-01Z' AND at < '2262-01-01Z';

CREATE OR REPLACE VIEW events AS
SELECT device_id, at, spool_id, seq, record ->> 'id' AS id, record ->> 'code' AS code, record ->> 'severity' AS severity,
    record ->> 'message' AS message, record -> 'value' AS value, record ->> 'unit' AS unit, record
FROM records WHERE kind = 'events' AND is_known(unknown_schema) AND at >= '1900-01-01Z' AND at < '2262-01-01Z';

CREATE VIEW models AS
SELECT d.device_id, d.at, d.spool_id, d.seq, m.key AS role, m.value ->> 'name' AS name, m.value ->> 'version' AS version,
    m.value ->> 'sha256' AS sha256
FROM detections d CROSS JOIN LATERAL jsonb_each(d.models) AS m;

GRANT SELECT ON ALL TABLES IN SCHEMA holonode TO holonode_reader;
