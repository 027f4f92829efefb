-- The index of segments and the account of every camera-second. Runs as peri_owner.
--
-- Everything here can be made again from the segment files and the ledger; nothing here opens a picture. Times are UTC
-- in nanoseconds since 1970, like everywhere in Peri.

-- One sealed segment file: one epoch of one camera.
CREATE TABLE peri.segment (
    camera       bytea  NOT NULL CHECK (octet_length(camera) = 16),
    epoch        bigint NOT NULL CHECK (epoch > 0),
    starts       bigint NOT NULL,
    ends         bigint NOT NULL,                                  -- of an open one the latest it may have
    bytes        bigint NOT NULL CHECK (bytes >= 0),
    last_counter bigint NOT NULL CHECK (last_counter >= 0),
    state        smallint NOT NULL CHECK (state BETWEEN 0 AND 3),  -- open, closed, erase_pending, erased: only upwards
    record_hash  bytea  NOT NULL CHECK (octet_length(record_hash) = 32),
    commit_x     bytea  NOT NULL CHECK (octet_length(commit_x) = 32),
    PRIMARY KEY (camera, epoch),
    CHECK (ends >= starts)
);
CREATE INDEX segment_time ON peri.segment (camera, starts);
CREATE INDEX segment_state ON peri.segment (state, ends) WHERE state < 3;

-- Where each group of pictures begins in its segment file.
CREATE TABLE peri.gop (
    camera      bytea  NOT NULL,
    epoch       bigint NOT NULL,
    file_offset bigint NOT NULL CHECK (file_offset >= 0),
    starts      bigint NOT NULL,
    PRIMARY KEY (camera, epoch, file_offset),
    FOREIGN KEY (camera, epoch) REFERENCES peri.segment ON DELETE CASCADE
);

-- Each camera's time, without gap or overlap: every row begins where the one before ends.
CREATE TABLE peri.coverage (
    camera bytea    NOT NULL CHECK (octet_length(camera) = 16),
    starts bigint   NOT NULL,
    ends   bigint   NOT NULL,
    state  smallint NOT NULL CHECK (state BETWEEN 0 AND 3),   -- recorded, lost, paused, erased
    cause  text     NOT NULL CHECK (octet_length(cause) <= 200),
    PRIMARY KEY (camera, starts),
    CHECK (ends > starts)
);

CREATE FUNCTION peri_api.segment_opened(
    p_camera bytea, p_epoch bigint, p_starts bigint, p_ends bigint, p_bytes bigint, p_record bytea, p_commit_x bytea
) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    INSERT INTO peri.segment (camera, epoch, starts, ends, bytes, last_counter, state, record_hash, commit_x)
    VALUES (p_camera, p_epoch, p_starts, p_ends, p_bytes, 0, 0, p_record, p_commit_x)
    ON CONFLICT (camera, epoch) DO NOTHING
$$;

-- How far the open segments are, one element per segment. Never backwards, and never in a closed one.
CREATE FUNCTION peri_api.segment_tails(p_camera bytea[], p_epoch bigint[], p_bytes bigint[], p_counter bigint[])
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    UPDATE peri.segment s SET bytes = greatest(s.bytes, u.bytes), last_counter = greatest(s.last_counter, u.counter)
    FROM unnest(p_camera, p_epoch, p_bytes, p_counter) AS u (camera, epoch, bytes, counter)
    WHERE s.camera = u.camera AND s.epoch = u.epoch AND s.state = 0
$$;

-- The end of an open segment; whether it was open.
CREATE FUNCTION peri_api.segment_closed(p_camera bytea, p_epoch bigint, p_ends bigint, p_bytes bigint, p_counter bigint)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
BEGIN
    UPDATE peri.segment SET state = 1, ends = greatest(starts, p_ends), bytes = p_bytes, last_counter = p_counter
    WHERE camera = p_camera AND epoch = p_epoch AND state = 0;
    RETURN FOUND;
END $$;

-- What a scan of the file says of a segment, whether the row is there or not. Times and length of one whose erasure
-- began stay as they are.
CREATE FUNCTION peri_api.segment_put(
    p_camera bytea, p_epoch bigint, p_starts bigint, p_ends bigint, p_bytes bigint, p_counter bigint,
    p_record bytea, p_commit_x bytea
) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    INSERT INTO peri.segment AS s (camera, epoch, starts, ends, bytes, last_counter, state, record_hash, commit_x)
    VALUES (p_camera, p_epoch, p_starts, p_ends, p_bytes, p_counter, 1, p_record, p_commit_x)
    ON CONFLICT (camera, epoch) DO UPDATE SET starts = excluded.starts, ends = excluded.ends, bytes = excluded.bytes,
        last_counter = excluded.last_counter, state = 1,
        record_hash = excluded.record_hash, commit_x = excluded.commit_x
    WHERE s.state <= 1
$$;

-- Moves segments upwards in their life; how many moved. The places of the pictures go with the pictures.
CREATE FUNCTION peri_api.segments_mark(p_camera bytea[], p_epoch bigint[], p_state smallint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
DECLARE
    moved bigint;
BEGIN
    UPDATE peri.segment s SET state = p_state FROM unnest(p_camera, p_epoch) AS u (camera, epoch)
    WHERE s.camera = u.camera AND s.epoch = u.epoch AND s.state < p_state;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF p_state >= 2 THEN
        DELETE FROM peri.gop g USING unnest(p_camera, p_epoch) AS u (camera, epoch)
        WHERE g.camera = u.camera AND g.epoch = u.epoch;
    END IF;
    RETURN moved;
END $$;

-- All segments in order of camera and epoch, after one of them.
CREATE FUNCTION peri_api.segments_after(p_camera bytea, p_epoch bigint, p_limit integer) RETURNS SETOF peri.segment
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT * FROM peri.segment s WHERE (s.camera, s.epoch) > (p_camera, p_epoch) ORDER BY s.camera, s.epoch LIMIT p_limit
$$;

CREATE FUNCTION peri_api.segments_between(p_camera bytea, p_from bigint, p_until bigint) RETURNS SETOF peri.segment
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT * FROM peri.segment s
    WHERE s.camera = p_camera AND s.starts < p_until AND s.ends > p_from ORDER BY s.starts, s.epoch
$$;

CREATE FUNCTION peri_api.segment_one(p_camera bytea, p_epoch bigint) RETURNS SETOF peri.segment
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT * FROM peri.segment s WHERE s.camera = p_camera AND s.epoch = p_epoch
$$;

-- Segments of one state that ended before a time, oldest first.
CREATE FUNCTION peri_api.segments_in(p_state smallint, p_ended_before bigint, p_limit integer) RETURNS SETOF peri.segment
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT * FROM peri.segment s WHERE s.state = p_state AND s.ends < p_ended_before ORDER BY s.ends, s.camera LIMIT p_limit
$$;

CREATE FUNCTION peri_api.last_epoch(p_camera bytea) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT max(s.epoch) FROM peri.segment s WHERE s.camera = p_camera
$$;

-- Adds places of groups of pictures, one element each. Those of a segment that is not (or no more) there are left out.
CREATE FUNCTION peri_api.gops_add(p_camera bytea[], p_epoch bigint[], p_offset bigint[], p_starts bigint[])
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    INSERT INTO peri.gop (camera, epoch, file_offset, starts)
    SELECT u.camera, u.epoch, u.file_offset, u.starts
    FROM unnest(p_camera, p_epoch, p_offset, p_starts) AS u (camera, epoch, file_offset, starts)
    JOIN peri.segment s ON s.camera = u.camera AND s.epoch = u.epoch AND s.state < 2
    ON CONFLICT (camera, epoch, file_offset) DO NOTHING
$$;

CREATE FUNCTION peri_api.gops(p_camera bytea, p_epoch bigint) RETURNS TABLE (file_offset bigint, starts bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT g.file_offset, g.starts FROM peri.gop g WHERE g.camera = p_camera AND g.epoch = p_epoch ORDER BY g.file_offset
$$;

-- Accounts for each camera's time up to p_ends, one element per span, in order. A span begins where the account ends,
-- whatever it says itself: what lies between is lost, what is accounted for is not accounted for again (so a repeated
-- report changes nothing). A span like the one before makes that one longer.
CREATE FUNCTION peri_api.coverage_report(p_camera bytea[], p_starts bigint[], p_ends bigint[], p_state smallint[], p_cause text[])
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
DECLARE
    span  record;
    last  peri.coverage;
    begin_at bigint;
BEGIN
    FOR span IN
        SELECT u.* FROM unnest(p_camera, p_starts, p_ends, p_state, p_cause) WITH ORDINALITY
            AS u (camera, starts, ends, state, cause, ordinal) ORDER BY u.ordinal
    LOOP
        IF span.state = 3 THEN
            RAISE EXCEPTION 'a span is recorded before it is erased' USING ERRCODE = 'PR003';
        END IF;
        SELECT * INTO last FROM peri.coverage c WHERE c.camera = span.camera ORDER BY c.starts DESC LIMIT 1 FOR UPDATE;
        begin_at := coalesce(last.ends, span.starts);
        IF span.starts > begin_at THEN
            INSERT INTO peri.coverage VALUES (span.camera, begin_at, span.starts, 1, 'not accounted for');
            begin_at := span.starts;
            last := NULL;
        END IF;
        CONTINUE WHEN span.ends <= begin_at;
        IF last.state = span.state AND last.cause = span.cause THEN
            UPDATE peri.coverage c SET ends = span.ends WHERE c.camera = span.camera AND c.starts = last.starts;
        ELSE
            INSERT INTO peri.coverage VALUES (span.camera, begin_at, span.ends, span.state, span.cause);
        END IF;
    END LOOP;
END $$;

-- Turns what is recorded between two times into erased; lost and paused stay what they were.
CREATE FUNCTION peri_api.coverage_erase(p_camera bytea, p_from bigint, p_until bigint, p_cause text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
DECLARE
    span peri.coverage;
    low  bigint;
    high bigint;
BEGIN
    FOR span IN
        SELECT * FROM peri.coverage c
        WHERE c.camera = p_camera AND c.state = 0 AND c.starts < p_until AND c.ends > p_from ORDER BY c.starts FOR UPDATE
    LOOP
        low := greatest(span.starts, p_from);
        high := least(span.ends, p_until);
        DELETE FROM peri.coverage c WHERE c.camera = p_camera AND c.starts = span.starts;
        IF span.starts < low THEN
            INSERT INTO peri.coverage VALUES (p_camera, span.starts, low, span.state, span.cause);
        END IF;
        IF high < span.ends THEN
            INSERT INTO peri.coverage VALUES (p_camera, high, span.ends, span.state, span.cause);
        END IF;
        -- Erasure goes on from the oldest: one long row instead of one for every epoch there ever was.
        UPDATE peri.coverage c SET ends = high
        WHERE c.camera = p_camera AND c.ends = low AND c.state = 3 AND c.cause = p_cause
          AND c.starts = (SELECT max(b.starts) FROM peri.coverage b WHERE b.camera = p_camera AND b.starts < low);
        IF NOT FOUND THEN
            INSERT INTO peri.coverage VALUES (p_camera, low, high, 3, p_cause);
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION peri_api.coverage_between(p_camera bytea, p_from bigint, p_until bigint) RETURNS SETOF peri.coverage
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT * FROM peri.coverage c
    WHERE c.camera = p_camera AND c.starts < p_until AND c.ends > p_from ORDER BY c.starts
$$;

-- Up to when each camera is accounted for.
CREATE FUNCTION peri_api.coverage_cursors() RETURNS TABLE (camera bytea, ends bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT c.camera, max(c.ends) FROM peri.coverage c GROUP BY c.camera
$$;
