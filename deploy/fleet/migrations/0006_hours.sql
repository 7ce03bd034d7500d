-- Hours: what was looked at and what was counted, added up as records come, so that a season is a few thousand rows. Kept by
-- the statement that writes the record, in its transaction, whichever collector runs it; what retention deletes stays counted.
-- What an interval that failed quality control (qc 4) counted, and the volume of it, is in no sum.
CREATE TABLE hours (
    device_id text NOT NULL,
    hour timestamptz NOT NULL,
    intervals bigint NOT NULL,
    looked bigint NOT NULL,
    volume_ml double precision NOT NULL,
    volume_m3 double precision NOT NULL,
    volume_uncertainty double precision NOT NULL,
    covered_s double precision NOT NULL,
    dead_time_s double precision NOT NULL,
    frames_captured double precision NOT NULL,
    frames_analysed double precision NOT NULL,
    frames_dropped double precision NOT NULL,
    good bigint NOT NULL,
    not_evaluated bigint NOT NULL,
    suspect bigint NOT NULL,
    failed bigint NOT NULL,
    PRIMARY KEY (device_id, hour)
);
CREATE TABLE hour_counts (
    device_id text NOT NULL,
    hour timestamptz NOT NULL,
    label text NOT NULL,
    n double precision NOT NULL,
    stands_for double precision NOT NULL,
    squares double precision NOT NULL,
    exposure double precision NOT NULL,
    PRIMARY KEY (device_id, hour, label)
);

-- Whether what an interval counted may be added up.
CREATE FUNCTION is_fit(record jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN flag_of(record -> 'qc') IS DISTINCT FROM 4;
-- The volume in the unit of the record: of a box, one of the two.
CREATE FUNCTION volume_of(record jsonb) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN greatest(coalesce(number_of(record -> 'volume_ml'), number_of(record -> 'volume_m3'), 0), 0);

-- How many each particle of a count stands for. Of none, as the upper end of its interval says: the mean behind none is below
-- -ln 0.05 = 2.9957 at 95 % (mid-P).
CREATE FUNCTION weight_of(record jsonb, label text) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN coalesce(CASE WHEN coalesce(whole_of(record #> ARRAY['counts', label, 'n']), 0) > 0
    THEN number_of(record #> ARRAY['concentration', label, 'value']) / whole_of(record #> ARRAY['counts', label, 'n'])
    ELSE number_of(record #> ARRAY['concentration', label, 'high']) / 2.9957 END
    * volume_of(record) * CASE WHEN record #>> ARRAY['concentration', label, 'unit'] = 'L^-1' THEN 1000 ELSE 1 END, 0);

-- In the order of the keys, so that two collectors never wait for each other in a circle.
CREATE FUNCTION roll_up(sign integer, written records[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO hours AS h (device_id, hour, intervals, looked, volume_ml, volume_m3, volume_uncertainty, covered_s,
        dead_time_s, frames_captured, frames_analysed, frames_dropped, good, not_evaluated, suspect, failed)
    SELECT device_id, date_trunc('hour', at, 'UTC'), sign * count(*),
        sign * count(*) FILTER (WHERE whole_of(record #> '{frames,analysed}') > 0),
        sign * coalesce(sum(greatest(coalesce(number_of(record -> 'volume_ml'), 0), 0)) FILTER (WHERE is_fit(record)), 0),
        sign * coalesce(sum(greatest(coalesce(number_of(record -> 'volume_m3'), 0), 0)) FILTER (WHERE is_fit(record)), 0),
        sign * coalesce(sum(greatest(coalesce(number_of(record -> 'volume_uncertainty'), 0), 0)) FILTER (WHERE is_fit(record)), 0),
        sign * sum(least(greatest(extract(epoch FROM coalesce(time_of(record -> 'ended_at'), at) - at), 0), 1e9)::double precision),
        sign * sum(greatest(coalesce(number_of(record -> 'dead_time_s'), 0), 0)),
        sign * sum(greatest(coalesce(whole_of(record #> '{frames,captured}'), 0), 0)::double precision),
        sign * sum(greatest(coalesce(whole_of(record #> '{frames,analysed}'), 0), 0)::double precision),
        sign * sum(greatest(coalesce(whole_of(record #> '{frames,dropped}'), 0), 0)::double precision),
        sign * count(*) FILTER (WHERE flag_of(record -> 'qc') = 1),
        sign * count(*) FILTER (WHERE coalesce(flag_of(record -> 'qc'), 2) = 2),
        sign * count(*) FILTER (WHERE flag_of(record -> 'qc') = 3),
        sign * count(*) FILTER (WHERE flag_of(record -> 'qc') IN (4, 9))
    FROM unnest(written) WHERE kind = 'intervals' AND is_known(unknown_schema) AND at >= '1900-01-01Z' AND at < '2262-01-01Z'
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (device_id, hour) DO UPDATE SET intervals = h.intervals + EXCLUDED.intervals, looked = h.looked + EXCLUDED.looked,
        volume_ml = h.volume_ml + EXCLUDED.volume_ml, volume_m3 = h.volume_m3 + EXCLUDED.volume_m3,
        volume_uncertainty = h.volume_uncertainty + EXCLUDED.volume_uncertainty, covered_s = h.covered_s + EXCLUDED.covered_s,
        dead_time_s = h.dead_time_s + EXCLUDED.dead_time_s,
        frames_captured = h.frames_captured + EXCLUDED.frames_captured,
        frames_analysed = h.frames_analysed + EXCLUDED.frames_analysed,
        frames_dropped = h.frames_dropped + EXCLUDED.frames_dropped, good = h.good + EXCLUDED.good,
        not_evaluated = h.not_evaluated + EXCLUDED.not_evaluated, suspect = h.suspect + EXCLUDED.suspect,
        failed = h.failed + EXCLUDED.failed;

    INSERT INTO hour_counts AS h (device_id, hour, label, n, stands_for, squares, exposure)
    SELECT c.device_id, c.hour, c.label, sign * sum(c.n), sign * sum(c.n * c.weight), sign * sum(c.n * c.weight * c.weight),
        sign * sum(c.volume * c.weight)
    FROM (
        SELECT r.device_id, date_trunc('hour', r.at, 'UTC') AS hour, c.key AS label, volume_of(r.record) AS volume,
            greatest(coalesce(whole_of(c.value -> 'n'), 0), 0)::double precision AS n,
            least(greatest(weight_of(r.record, c.key), 0), 1e30) AS weight
        FROM unnest(written) r CROSS JOIN LATERAL jsonb_each(object_of(r.record -> 'counts')) AS c
        WHERE r.kind = 'intervals' AND is_known(r.unknown_schema) AND r.at >= '1900-01-01Z' AND r.at < '2262-01-01Z'
            AND is_fit(r.record)
    ) c
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (device_id, hour, label) DO UPDATE SET n = h.n + EXCLUDED.n, stands_for = h.stands_for + EXCLUDED.stands_for,
        squares = h.squares + EXCLUDED.squares, exposure = h.exposure + EXCLUDED.exposure;
$$;

CREATE FUNCTION roll_up_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM roll_up(1, ARRAY(SELECT r::records FROM added r WHERE r.kind = 'intervals'));
    RETURN NULL;
END
$$;
-- A record whose stamps its box corrected.
CREATE FUNCTION roll_up_corrected() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM roll_up(-1, ARRAY(SELECT r::records FROM before r WHERE r.kind = 'intervals'));
    PERFORM roll_up(1, ARRAY(SELECT r::records FROM after r WHERE r.kind = 'intervals'));
    RETURN NULL;
END
$$;
CREATE TRIGGER roll_up_added AFTER INSERT ON records REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION roll_up_added();
CREATE TRIGGER roll_up_corrected AFTER UPDATE ON records REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION roll_up_corrected();

-- What is there already, a box's month at a time; collectors wait meanwhile.
DO $$
DECLARE part record;
BEGIN
    FOR part IN SELECT DISTINCT device_id, date_trunc('month', at, 'UTC') AS month FROM records WHERE kind = 'intervals' LOOP
        PERFORM roll_up(1, ARRAY(SELECT r FROM records r WHERE r.kind = 'intervals' AND r.device_id = part.device_id
            AND r.at >= part.month AND r.at < part.month + interval '1 month'));
    END LOOP;
END
$$;

REVOKE EXECUTE ON FUNCTION roll_up, roll_up_added, roll_up_corrected FROM PUBLIC;
GRANT EXECUTE ON FUNCTION roll_up TO holonode_collector;
GRANT SELECT, INSERT, UPDATE ON hours, hour_counts TO holonode_collector;
GRANT SELECT ON ALL TABLES IN SCHEMA holonode TO holonode_reader;
