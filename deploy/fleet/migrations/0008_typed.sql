-- What is asked for stands in columns of its own, beside the record as it came, which may be given up after a while (`prune
-- --payloads`). Filled by the statement that writes the record, whichever collector runs it; of what was there before by
-- `migrate`, some thousands at a time, which goes on where it was interrupted.
ALTER TABLE records ADD COLUMN id text, ADD COLUMN interval_id text, ADD COLUMN label text, ADD COLUMN score double precision,
    ADD COLUMN esd_um double precision, ADD COLUMN esd_uncertainty_um double precision, ADD COLUMN x_um double precision,
    ADD COLUMN y_um double precision, ADD COLUMN z_um double precision, ADD COLUMN qc smallint, ADD COLUMN ended_at timestamptz,
    ADD COLUMN mode text, ADD COLUMN volume_ml double precision, ADD COLUMN volume_m3 double precision,
    ADD COLUMN dead_time_s double precision, ADD COLUMN particles bigint;
COMMENT ON COLUMN records.id IS 'of the record; empty where it has none; NULL: its columns are not filled yet';
COMMENT ON COLUMN records.record IS 'the whole record as it came, fields this version does not know among them; NULL: given up';
ALTER TABLE records ALTER COLUMN record DROP NOT NULL;
-- A record of more than PostgreSQL's 2 kB goes out of line and is compressed, so that the columns lie close together.
ALTER TABLE records SET (toast_tuple_target = 256);
DO $$
BEGIN
    ALTER TABLE records ALTER COLUMN record SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;  -- a PostgreSQL that was built without: pglz
END
$$;

CREATE FUNCTION fill_columns() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.record IS NULL THEN
        RETURN NEW;
    END IF;
    NEW.id := coalesce(NEW.record ->> 'id', '');
    NEW.qc := flag_of(NEW.record -> 'qc');
    IF NEW.kind = 'detections' THEN
        NEW.interval_id := NEW.record ->> 'interval_id';
        -- Longer ones are of no schema that is known, and the index holds no text of any length.
        NEW.label := CASE WHEN octet_length(NEW.record ->> 'label') <= 500 THEN NEW.record ->> 'label' END;
        NEW.score := number_of(NEW.record -> 'score');
        NEW.esd_um := number_of(NEW.record -> 'esd_um');
        NEW.esd_uncertainty_um := number_of(NEW.record -> 'esd_uncertainty_um');
        NEW.x_um := number_of(NEW.record -> 'x_um');
        NEW.y_um := number_of(NEW.record -> 'y_um');
        NEW.z_um := number_of(NEW.record -> 'z_um');
    ELSIF NEW.kind = 'intervals' THEN
        NEW.ended_at := time_of(NEW.record -> 'ended_at');
        NEW.mode := NEW.record ->> 'mode';
        NEW.volume_ml := number_of(NEW.record -> 'volume_ml');
        NEW.volume_m3 := number_of(NEW.record -> 'volume_m3');
        NEW.dead_time_s := number_of(NEW.record -> 'dead_time_s');
        NEW.particles := whole_of(NEW.record #> '{counts,total,n}');
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER fill_columns BEFORE INSERT OR UPDATE ON records FOR EACH ROW EXECUTE FUNCTION fill_columns();

-- Sizes by day, as on the box: four classes to an octave, class 0 begins at 1 um. Kept for ever, as hours are.
CREATE TABLE day_sizes (
    device_id text NOT NULL,
    day date NOT NULL,
    label text NOT NULL,
    size_class smallint NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (device_id, day, label, size_class)
);
CREATE FUNCTION size_class_of(esd_um double precision) RETURNS smallint LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN floor(ln(greatest(esd_um, 1e-3)) / ln(2.0::double precision) * 4)::smallint;

CREATE OR REPLACE FUNCTION roll_up_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO day_sizes AS d (device_id, day, label, size_class, n)
    SELECT device_id, (at AT TIME ZONE 'UTC')::date, label, size_class_of(esd_um), count(*) FROM added
    WHERE kind = 'detections' AND is_known(unknown_schema) AND at >= '1900-01-01Z' AND at < '2262-01-01Z'
        AND label IS NOT NULL AND esd_um IS NOT NULL
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    ON CONFLICT (device_id, day, label, size_class) DO UPDATE SET n = d.n + EXCLUDED.n;
    IF EXISTS (SELECT FROM added WHERE kind = 'intervals') THEN
        PERFORM roll_up(1, ARRAY(SELECT r::records FROM added r WHERE r.kind = 'intervals'));
    END IF;
    RETURN NULL;
END
$$;
-- A record whose stamps its box corrected; one whose columns are filled counts from then on; one that is given up stays counted.
CREATE OR REPLACE FUNCTION roll_up_corrected() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO day_sizes AS d (device_id, day, label, size_class, n)
    SELECT device_id, (at AT TIME ZONE 'UTC')::date, label, size_class_of(esd_um), sum(sign) FROM (
        SELECT -1 AS sign, * FROM before WHERE id IS NOT NULL UNION ALL SELECT 1, * FROM after WHERE id IS NOT NULL
    ) changed
    WHERE kind = 'detections' AND is_known(unknown_schema) AND at >= '1900-01-01Z' AND at < '2262-01-01Z'
        AND label IS NOT NULL AND esd_um IS NOT NULL
    GROUP BY 1, 2, 3, 4 HAVING sum(sign) <> 0 ORDER BY 1, 2, 3, 4
    ON CONFLICT (device_id, day, label, size_class) DO UPDATE SET n = d.n + EXCLUDED.n;
    IF EXISTS (SELECT FROM before WHERE kind = 'intervals') THEN
        PERFORM roll_up(-1, ARRAY(SELECT b::records FROM before b JOIN after a USING (device_id, spool_id, seq)
            WHERE b.kind = 'intervals' AND (b.at, b.record) IS DISTINCT FROM (a.at, a.record)));
        PERFORM roll_up(1, ARRAY(SELECT a::records FROM before b JOIN after a USING (device_id, spool_id, seq)
            WHERE b.kind = 'intervals' AND (b.at, b.record) IS DISTINCT FROM (a.at, a.record)));
    END IF;
    RETURN NULL;
END
$$;

GRANT SELECT, INSERT, UPDATE ON day_sizes TO holonode_collector;
GRANT SELECT ON day_sizes TO holonode_reader, holonode_watcher;
