-- Records by the month in which a collector wrote them, and in it by kind, so that what is no longer kept is dropped as a whole.
-- What was there before stays where it is, as the part before the first month. `received` keeps each key once across all of them,
-- also of records that are gone.
LOCK TABLE records IN ACCESS EXCLUSIVE MODE;
DO $$
BEGIN
    IF EXISTS (SELECT FROM records WHERE id IS NULL AND record IS NOT NULL) THEN
        RAISE EXCEPTION 'some records have no columns yet; holonode-fleet migrate fills them before this step';
    END IF;
END
$$;
DROP TRIGGER roll_up_added ON records;
DROP TRIGGER roll_up_corrected ON records;
DROP TRIGGER fill_columns ON records;
ALTER TABLE records RENAME TO records_before;
ALTER INDEX records_device_at RENAME TO records_before_device_at;
ALTER INDEX records_kind_at RENAME TO records_before_kind_at;
ALTER INDEX records_unknown_schema RENAME TO records_before_unknown_schema;

CREATE TABLE records (LIKE records_before INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMPRESSION INCLUDING COMMENTS)
    PARTITION BY RANGE (received_at);
CREATE INDEX records_device_at ON records (device_id, at);
CREATE INDEX records_at ON records USING brin (at);
CREATE INDEX records_label_score ON records (device_id, label, score DESC NULLS LAST) WHERE label IS NOT NULL;
CREATE INDEX records_unknown_schema ON records (device_id, unknown_schema) WHERE unknown_schema IS NOT NULL;
-- What comes where no month was made for it: nothing is refused for that.
CREATE TABLE records_rest PARTITION OF records DEFAULT WITH (toast_tuple_target = 256);

-- One month; made beside the table and put in whole, so that nobody who writes waits.
CREATE FUNCTION make_month(begins timestamptz, ends timestamptz) RETURNS void LANGUAGE plpgsql
SET search_path TO holonode, pg_temp SET timezone TO 'UTC' AS $$
DECLARE
    month text := 'records_' || to_char(begins, 'YYYY_MM');
    part text;
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE records INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMPRESSION) PARTITION BY LIST (kind)', month);
    FOREACH part IN ARRAY ARRAY['detections', 'intervals', 'events'] LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES IN (%L) WITH (toast_tuple_target = 256)', month || '_' || part, month, part);
    END LOOP;
    EXECUTE format('ALTER TABLE records ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', month, begins, ends);
END
$$;
-- This month and those ahead, where they aren't there; returns how many were made. Collectors call it, who own nothing. What can't
-- be had at the moment is tried again by the next one.
CREATE FUNCTION make_months(ahead integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path TO holonode, pg_temp SET timezone TO 'UTC' SET lock_timeout TO '2s' AS $$
DECLARE
    begins timestamptz;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(7812730952471605060);
    FOR k IN 0 .. least(ahead, 24) LOOP
        begins := date_trunc('month', now()) + make_interval(months => k);
        CONTINUE WHEN to_regclass('records_' || to_char(begins, 'YYYY_MM')) IS NOT NULL;
        BEGIN
            PERFORM make_month(begins, begins + interval '1 month');
            made := made + 1;
        EXCEPTION WHEN lock_not_available OR check_violation OR invalid_object_definition THEN
            NULL;
        END;
    END LOOP;
    RETURN made;
END
$$;

-- What takes rows of the table by its name takes those of the new one.
DO $$
DECLARE
    old regprocedure := 'roll_up(integer, records_before[])'::regprocedure;
BEGIN
    EXECUTE replace(pg_get_functiondef(old), 'records_before', 'records');
    EXECUTE format('DROP FUNCTION %s', old);
END
$$;
CREATE OR REPLACE VIEW detections AS
SELECT device_id, at, spool_id, seq, nullif(id, '') AS id, interval_id, label, score, esd_um, x_um, y_um, z_um, qc::integer AS qc, record,
    models_of(record) AS models, esd_uncertainty_um
FROM records WHERE kind = 'detections' AND is_known(unknown_schema) AND at >= '1900-01-01Z' AND at < '2262-01-01Z';
CREATE OR REPLACE VIEW intervals AS
SELECT device_id, at AS started_at, ended_at, spool_id, seq, nullif(id, '') AS id, mode, volume_ml, volume_m3, dead_time_s,
    qc::integer AS qc, record, particles
FROM records WHERE kind = 'intervals' AND is_known(unknown_schema) AND at >= '1900-01-01Z' AND at < '2262-01-01Z';
CREATE OR REPLACE VIEW events AS
SELECT device_id, at, spool_id, seq, nullif(id, '') AS id, record ->> 'code' AS code, record ->> 'severity' AS severity,
    record ->> 'message' AS message, record -> 'value' AS value, record ->> 'unit' AS unit, record
FROM records WHERE kind = 'events' AND is_known(unknown_schema) AND at >= '1900-01-01Z' AND at < '2262-01-01Z';

-- The part before the first month: as it is; of a hypertable (step 3) the rows.
DO $$
DECLARE
    bound timestamptz;
    hyper boolean := false;
BEGIN
    SELECT greatest(clock_timestamp(), max(received_at)) + interval '1 microsecond' INTO bound FROM records_before;
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN
        SELECT EXISTS (SELECT FROM timescaledb_information.hypertables WHERE hypertable_schema = 'holonode'
            AND hypertable_name = 'records_before') INTO hyper;
    END IF;
    IF hyper OR NOT EXISTS (SELECT FROM records_before) THEN
        PERFORM make_month(date_trunc('month', now(), 'UTC'), date_trunc('month', now(), 'UTC') + interval '1 month');
        INSERT INTO records SELECT * FROM records_before;
        DROP TABLE records_before;
    ELSE
        EXECUTE format('ALTER TABLE records ATTACH PARTITION records_before FOR VALUES FROM (MINVALUE) TO (%L)', bound);
        PERFORM make_month(bound, date_trunc('month', bound, 'UTC') + interval '1 month');
    END IF;
    PERFORM make_months(2);
END
$$;
CREATE TRIGGER fill_columns BEFORE INSERT OR UPDATE ON records FOR EACH ROW EXECUTE FUNCTION fill_columns();
CREATE TRIGGER roll_up_added AFTER INSERT ON records REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION roll_up_added();
CREATE TRIGGER roll_up_corrected AFTER UPDATE ON records REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION roll_up_corrected();

REVOKE EXECUTE ON FUNCTION make_month, make_months, roll_up, fill_columns FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_months, roll_up TO holonode_collector;
GRANT SELECT, INSERT, UPDATE (at, record) ON records TO holonode_collector;
GRANT SELECT ON ALL TABLES IN SCHEMA holonode TO holonode_reader, holonode_watcher;
