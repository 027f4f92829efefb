-- The ledger: entries, what they commit to, checkpoints. Runs as peri_owner, who cannot log in.
--
-- The application role has USAGE on peri_api alone and EXECUTE on its functions; it never sees a table. Each function
-- runs with the rights of the owner under a pinned search_path, so no object of a caller can stand in for ours.

CREATE SCHEMA peri;
CREATE SCHEMA peri_api;
REVOKE ALL ON SCHEMA peri, peri_api FROM PUBLIC;
GRANT USAGE ON SCHEMA peri_api TO peri_scribe;
-- Functions are born executable by everybody; here they are not.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- One leaf of the tree. The bytes are the truth; ledger, number and leaf hash repeat what follows from them, to find it.
CREATE TABLE peri.ledger_entry (
    leaf_index bigint PRIMARY KEY CHECK (leaf_index >= 0),
    ledger     smallint NOT NULL CHECK (ledger BETWEEN 0 AND 2),   -- access, billing, technical
    ledger_seq bigint   NOT NULL CHECK (ledger_seq >= 0),
    entry      bytea    NOT NULL CHECK (octet_length(entry) BETWEEN 1 AND 65535), -- C2SP: a 16-bit length
    leaf_hash  bytea    NOT NULL CHECK (octet_length(leaf_hash) = 32),
    UNIQUE (ledger, ledger_seq)
);

-- What a commitment commits to. May be erased (personal data); the entry stays and stays provable.
CREATE TABLE peri.ledger_detail (
    leaf_index bigint   NOT NULL REFERENCES peri.ledger_entry,
    position   smallint NOT NULL CHECK (position BETWEEN 0 AND 15),
    salt       bytea    NOT NULL CHECK (octet_length(salt) = 16),
    detail     bytea    NOT NULL CHECK (octet_length(detail) <= 65535),
    PRIMARY KEY (leaf_index, position)
);

-- One signed checkpoint per batch, with the tree's frontier at its size: enough to go on without reading all leaves.
CREATE TABLE peri.ledger_checkpoint (
    size     bigint PRIMARY KEY CHECK (size > 0),
    root     bytea NOT NULL CHECK (octet_length(root) = 32),
    note     text  NOT NULL CHECK (octet_length(note) <= 65536),
    frontier bytea NOT NULL CHECK (octet_length(frontier) % 32 = 0)
);

-- The one row that orders appends.
CREATE TABLE peri.ledger_head (
    single   boolean PRIMARY KEY DEFAULT true CHECK (single),
    size     bigint   NOT NULL CHECK (size >= 0),
    next_seq bigint[] NOT NULL CHECK (cardinality(next_seq) = 3)
);
INSERT INTO peri.ledger_head (size, next_seq) VALUES (0, '{0,0,0}');

-- Up to which event each run of scribe is in the ledger: replaying the spool after a crash adds nothing twice.
CREATE TABLE peri.event_mark (
    run     bytea PRIMARY KEY CHECK (octet_length(run) = 16),
    last_no bigint NOT NULL CHECK (last_no >= 0)
);

-- Belt and braces: even a function of the owner with a fault in it changes nothing that was written.
CREATE FUNCTION peri.refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% on %.% is refused: it is append-only', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON peri.ledger_entry
    FOR EACH STATEMENT EXECUTE FUNCTION peri.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON peri.ledger_checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION peri.refuse_change();
CREATE TRIGGER never_rewritten BEFORE UPDATE OR TRUNCATE ON peri.ledger_detail
    FOR EACH STATEMENT EXECUTE FUNCTION peri.refuse_change();

-- Appends one batch. Arrays p_ledger to p_leaf have one element per entry, p_detail_leaf to p_detail one per detail.
-- p_run may be null (then nothing is marked). SQLSTATE PR001: the caller's end of the log is not ours; PR002: these
-- events are already in; PR003: the batch does not fit together.
CREATE FUNCTION peri_api.append(
    p_first bigint, p_ledger smallint[], p_seq bigint[], p_entry bytea[], p_leaf bytea[],
    p_detail_leaf bigint[], p_detail_position smallint[], p_detail_salt bytea[], p_detail bytea[],
    p_root bytea, p_note text, p_frontier bytea, p_run bytea, p_last_no bigint
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
DECLARE
    head   peri.ledger_head;
    n      integer := cardinality(p_entry);
    part   record;
BEGIN
    SELECT * INTO STRICT head FROM peri.ledger_head FOR UPDATE;
    IF head.size <> p_first THEN
        RAISE EXCEPTION 'the ledger has % entries, the batch begins at %', head.size, p_first USING ERRCODE = 'PR001';
    END IF;
    IF n NOT BETWEEN 1 AND 256 OR cardinality(p_ledger) <> n OR cardinality(p_seq) <> n OR cardinality(p_leaf) <> n
       OR cardinality(p_detail_position) <> cardinality(p_detail_leaf)
       OR cardinality(p_detail_salt) <> cardinality(p_detail_leaf)
       OR cardinality(p_detail) <> cardinality(p_detail_leaf) THEN
        RAISE EXCEPTION 'a batch has 1 to 256 entries and arrays of equal length' USING ERRCODE = 'PR003';
    END IF;
    IF p_run IS NOT NULL THEN
        INSERT INTO peri.event_mark AS m (run, last_no) VALUES (p_run, p_last_no)
            ON CONFLICT (run) DO UPDATE SET last_no = excluded.last_no WHERE m.last_no < excluded.last_no;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'events up to % of this run are in the ledger', p_last_no USING ERRCODE = 'PR002';
        END IF;
    END IF;
    FOR part IN
        SELECT u.ledger, min(u.seq) AS low, max(u.seq) AS high, count(*) AS many
        FROM unnest(p_ledger, p_seq) AS u (ledger, seq) GROUP BY u.ledger
    LOOP
        IF part.low <> head.next_seq[part.ledger + 1] OR part.high - part.low + 1 <> part.many THEN
            RAISE EXCEPTION 'numbers of ledger % do not go on at %', part.ledger, head.next_seq[part.ledger + 1]
                USING ERRCODE = 'PR003';
        END IF;
        head.next_seq[part.ledger + 1] := part.high + 1;
    END LOOP;
    INSERT INTO peri.ledger_entry (leaf_index, ledger, ledger_seq, entry, leaf_hash)
        SELECT p_first + u.ordinal - 1, u.ledger, u.seq, u.entry, u.leaf
        FROM unnest(p_ledger, p_seq, p_entry, p_leaf) WITH ORDINALITY AS u (ledger, seq, entry, leaf, ordinal);
    INSERT INTO peri.ledger_detail (leaf_index, position, salt, detail)
        SELECT * FROM unnest(p_detail_leaf, p_detail_position, p_detail_salt, p_detail);
    INSERT INTO peri.ledger_checkpoint (size, root, note, frontier) VALUES (p_first + n, p_root, p_note, p_frontier);
    UPDATE peri.ledger_head SET size = p_first + n, next_seq = head.next_seq;
END $$;

-- The end of the log: the last checkpoint and the last entry of each ledger (null where it has none), and of all.
CREATE FUNCTION peri_api.ledger_end() RETURNS TABLE (
    size bigint, note text, frontier bytea, access bytea, billing bytea, technical bytea, last bytea
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT h.size, c.note, c.frontier,
        (SELECT e.entry FROM peri.ledger_entry e WHERE e.ledger = 0 ORDER BY e.ledger_seq DESC LIMIT 1),
        (SELECT e.entry FROM peri.ledger_entry e WHERE e.ledger = 1 ORDER BY e.ledger_seq DESC LIMIT 1),
        (SELECT e.entry FROM peri.ledger_entry e WHERE e.ledger = 2 ORDER BY e.ledger_seq DESC LIMIT 1),
        (SELECT e.entry FROM peri.ledger_entry e ORDER BY e.leaf_index DESC LIMIT 1)
    FROM peri.ledger_head h LEFT JOIN peri.ledger_checkpoint c ON c.size = h.size
$$;

CREATE FUNCTION peri_api.event_mark(p_run bytea) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT m.last_no FROM peri.event_mark m WHERE m.run = p_run
$$;

-- Entries from a leaf on.
CREATE FUNCTION peri_api.entries(p_from bigint, p_limit integer) RETURNS TABLE (leaf_index bigint, entry bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT e.leaf_index, e.entry FROM peri.ledger_entry e WHERE e.leaf_index >= p_from ORDER BY e.leaf_index LIMIT p_limit
$$;

-- Entries of one ledger from a number on.
CREATE FUNCTION peri_api.ledger_range(p_ledger smallint, p_from bigint, p_limit integer)
RETURNS TABLE (leaf_index bigint, entry bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT e.leaf_index, e.entry FROM peri.ledger_entry e
    WHERE e.ledger = p_ledger AND e.ledger_seq >= p_from ORDER BY e.ledger_seq LIMIT p_limit
$$;

CREATE FUNCTION peri_api.leaf_hashes(p_from bigint, p_limit integer) RETURNS TABLE (leaf_hash bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT e.leaf_hash FROM peri.ledger_entry e WHERE e.leaf_index >= p_from ORDER BY e.leaf_index LIMIT p_limit
$$;

CREATE FUNCTION peri_api.details(p_leaf bigint) RETURNS TABLE ("position" smallint, salt bytea, detail bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT d.position, d.salt, d.detail FROM peri.ledger_detail d WHERE d.leaf_index = p_leaf ORDER BY d.position
$$;

-- Checkpoints above a size.
CREATE FUNCTION peri_api.checkpoints(p_above bigint, p_limit integer) RETURNS TABLE (size bigint, note text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT c.size, c.note FROM peri.ledger_checkpoint c WHERE c.size > p_above ORDER BY c.size LIMIT p_limit
$$;

-- Roster statements as they came. keeper judges them; the database only keeps them, each once, in order of arrival.
CREATE TABLE peri.roster_statement (
    no        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest    bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    statement bytea NOT NULL CHECK (octet_length(statement) BETWEEN 1 AND 32768)   -- STATEMENT_MAX
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON peri.roster_statement
    FOR EACH STATEMENT EXECUTE FUNCTION peri.refuse_change();

-- Whether the statement is new. The digest is made here, so that a caller cannot hide one statement behind another.
CREATE FUNCTION peri_api.add_statement(p_statement bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
BEGIN
    INSERT INTO peri.roster_statement (digest, statement) VALUES (sha256(p_statement), p_statement)
        ON CONFLICT (digest) DO NOTHING;
    RETURN FOUND;
END $$;

CREATE FUNCTION peri_api.statements(p_after bigint, p_limit integer) RETURNS TABLE (no bigint, statement bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT s.no, s.statement FROM peri.roster_statement s WHERE s.no > p_after ORDER BY s.no LIMIT p_limit
$$;
