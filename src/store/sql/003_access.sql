-- How people come to their keys: logins, failed attempts, invitations. Runs as peri_owner.
--
-- Nothing here opens anything: wrapped keys need a password and a device secret that never come here, or a printed
-- code; names are keyed digests whose key lies in scribe's own directory. Unlike the ledger these rows change and go.

-- One account's login. `credential` is canonical CBOR of `peri_access::login::Credential`: Argon2id hashes in PHC form,
-- commitments of lanes, wrapped keys. `issued` is the client's time of setting: an older setting of the same key (`signer`)
-- is a replay; a key that came into office later may come from a device whose clock is behind.
CREATE TABLE peri.credential (
    name       bytea  PRIMARY KEY CHECK (octet_length(name) = 32),
    account    bytea  NOT NULL UNIQUE CHECK (octet_length(account) = 16),
    signer     bytea  NOT NULL CHECK (octet_length(signer) = 32),
    issued     bigint NOT NULL,
    credential bytea  NOT NULL CHECK (octet_length(credential) BETWEEN 1 AND 8192)
);

CREATE FUNCTION peri_api.credential(p_name bytea) RETURNS TABLE (credential bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT c.credential FROM peri.credential c WHERE c.name = p_name
$$;

CREATE FUNCTION peri_api.credential_by(p_account bytea, p_signer bytea) RETURNS TABLE (issued bigint, credential bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT c.issued, c.credential FROM peri.credential c WHERE c.account = p_account AND c.signer = p_signer
$$;

-- Logins of keys that an invitation enrolled and that are not in office (yet): nobody gets in by them, and none of them
-- touches the login that stands for the account. `kept` is when the key will not come into office any more.
CREATE TABLE peri.credential_waiting (
    signer     bytea  PRIMARY KEY CHECK (octet_length(signer) = 32),
    name       bytea  NOT NULL CHECK (octet_length(name) = 32),
    account    bytea  NOT NULL CHECK (octet_length(account) = 16),
    issued     bigint NOT NULL,
    credential bytea  NOT NULL CHECK (octet_length(credential) BETWEEN 1 AND 8192),
    kept       bigint NOT NULL
);

-- Keeps such a login: 0 done, 1 the name is somebody else's, 2 a newer one waits.
CREATE FUNCTION peri_api.credential_keep(
    p_signer bytea, p_name bytea, p_account bytea, p_issued bigint, p_credential bytea, p_kept bigint, p_now bigint
) RETURNS smallint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
BEGIN
    DELETE FROM peri.credential_waiting w WHERE w.kept < p_now;
    IF EXISTS (SELECT FROM peri.credential c WHERE c.name = p_name AND c.account <> p_account) THEN
        RETURN 1;
    END IF;
    INSERT INTO peri.credential_waiting AS w (signer, name, account, issued, credential, kept)
        VALUES (p_signer, p_name, p_account, p_issued, p_credential, p_kept)
        ON CONFLICT (signer) DO UPDATE SET name = excluded.name, account = excluded.account, issued = excluded.issued,
            credential = excluded.credential, kept = excluded.kept
        WHERE w.issued < excluded.issued;
    RETURN CASE WHEN FOUND THEN 0 ELSE 2 END;
END $$;

CREATE FUNCTION peri_api.credential_waiting(p_signer bytea) RETURNS TABLE (issued bigint, credential bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT w.issued, w.credential FROM peri.credential_waiting w WHERE w.signer = p_signer
$$;

CREATE FUNCTION peri_api.credentials_waiting(p_after bytea, p_limit integer) RETURNS TABLE (signer bytea, account bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT w.signer, w.account FROM peri.credential_waiting w WHERE w.signer > p_after ORDER BY w.signer LIMIT p_limit
$$;

-- The key is in office now: its login stands, whatever stood for the account before. 0 done, 1 the name is somebody
-- else's by now (it goes on waiting), 2 nothing waited.
CREATE FUNCTION peri_api.credential_stands(p_signer bytea) RETURNS smallint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
DECLARE
    v peri.credential_waiting;
BEGIN
    SELECT * INTO v FROM peri.credential_waiting w WHERE w.signer = p_signer;
    IF NOT FOUND THEN
        RETURN 2;
    END IF;
    IF EXISTS (SELECT FROM peri.credential c WHERE c.name = v.name AND c.account <> v.account) THEN
        RETURN 1;
    END IF;
    INSERT INTO peri.credential (name, account, signer, issued, credential)
        VALUES (v.name, v.account, v.signer, v.issued, v.credential)
        ON CONFLICT (account) DO UPDATE SET name = excluded.name, signer = excluded.signer, issued = excluded.issued,
            credential = excluded.credential;
    DELETE FROM peri.credential_waiting w WHERE w.signer = p_signer;
    RETURN 0;
END $$;

-- Sets the login of an account by its key in office: 0 done, 1 the name is somebody else's, 2 a newer one stands.
CREATE FUNCTION peri_api.credential_set(
    p_signer bytea, p_name bytea, p_account bytea, p_issued bigint, p_credential bytea
) RETURNS smallint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM peri.credential c WHERE c.name = p_name AND c.account <> p_account) THEN
        RETURN 1;
    END IF;
    INSERT INTO peri.credential AS c (name, account, signer, issued, credential)
        VALUES (p_name, p_account, p_signer, p_issued, p_credential)
        ON CONFLICT (account) DO UPDATE SET name = excluded.name, signer = excluded.signer, issued = excluded.issued,
            credential = excluded.credential
        WHERE c.issued < excluded.issued OR c.signer <> excluded.signer;
    IF NOT FOUND THEN
        RETURN 2;
    END IF;
    DELETE FROM peri.credential_waiting w WHERE w.signer = p_signer;
    RETURN 0;
END $$;

-- Replaces a login by the same one with less in it, if it is still what the caller read; whether it was.
CREATE FUNCTION peri_api.credential_spend(p_account bytea, p_before bytea, p_after bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
BEGIN
    UPDATE peri.credential c SET credential = p_after WHERE c.account = p_account AND c.credential = p_before;
    RETURN FOUND;
END $$;

-- Forgets the logins of accounts that were removed.
CREATE FUNCTION peri_api.credentials_drop(p_accounts bytea[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    DELETE FROM peri.credential_waiting w WHERE w.account = ANY (p_accounts);
    DELETE FROM peri.credential c WHERE c.account = ANY (p_accounts)
$$;

-- Failures of one subject (name digest, prefix, lane) as canonical CBOR; all is forgiven at `forgiven`.
CREATE TABLE peri.attempt (
    subject  bytea  PRIMARY KEY CHECK (octet_length(subject) BETWEEN 1 AND 64),
    record   bytea  NOT NULL CHECK (octet_length(record) BETWEEN 1 AND 128),
    forgiven bigint NOT NULL
);
CREATE INDEX attempt_forgiven ON peri.attempt (forgiven);

-- One element per subject. What was forgiven before p_now goes: it is the same as not being there.
CREATE FUNCTION peri_api.attempts_put(p_subject bytea[], p_record bytea[], p_forgiven bigint[], p_now bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    DELETE FROM peri.attempt a WHERE a.forgiven < p_now;
    INSERT INTO peri.attempt (subject, record, forgiven)
    SELECT u.subject, u.record, u.forgiven FROM unnest(p_subject, p_record, p_forgiven) AS u (subject, record, forgiven)
    ON CONFLICT (subject) DO UPDATE SET record = excluded.record, forgiven = excluded.forgiven
$$;

CREATE FUNCTION peri_api.attempts(p_after bytea, p_limit integer) RETURNS TABLE (subject bytea, record bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT a.subject, a.record FROM peri.attempt a WHERE a.subject > p_after ORDER BY a.subject LIMIT p_limit
$$;

-- An invitation as canonical CBOR; `kept` is when nobody needs to be told of it any more.
CREATE TABLE peri.invitation (
    id    bytea  PRIMARY KEY CHECK (octet_length(id) = 32),
    entry bytea  NOT NULL CHECK (octet_length(entry) BETWEEN 1 AND 4096),
    kept  bigint NOT NULL
);

CREATE FUNCTION peri_api.invitation_put(p_id bytea, p_entry bytea, p_kept bigint, p_now bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    DELETE FROM peri.invitation i WHERE i.kept < p_now;
    INSERT INTO peri.invitation (id, entry, kept) VALUES (p_id, p_entry, p_kept)
        ON CONFLICT (id) DO UPDATE SET entry = excluded.entry, kept = excluded.kept
$$;

CREATE FUNCTION peri_api.invitation_drop(p_id bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    DELETE FROM peri.invitation i WHERE i.id = p_id
$$;

CREATE FUNCTION peri_api.invitations(p_after bytea, p_limit integer) RETURNS TABLE (id bytea, entry bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, peri, pg_temp AS $$
    SELECT i.id, i.entry FROM peri.invitation i WHERE i.id > p_after ORDER BY i.id LIMIT p_limit
$$;
