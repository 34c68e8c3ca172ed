-- The built-in metrics, written down a second time. Each figure has three levels: `cells` (by bucket and every dimension),
-- `buckets` (by bucket) and `total`. Buckets are named by the seconds at which they begin, dimensions as `name=value;…` in
-- the order of their names. Times are integers of microseconds until the last division.

CREATE TABLE event AS
SELECT source, position,
    envelope->>'type' AS type,
    split_part(envelope->>'stream', '/', 2) AS id,
    coalesce(envelope->>'party_id', '') AS party,
    coalesce(envelope->>'market', '') AS market,
    rtrim(envelope->>'occurred_at', 'Z')::TIMESTAMP AS occurred,
    rtrim(envelope->>'recorded_at', 'Z')::TIMESTAMP AS recorded,
    envelope->'payload' AS said
FROM read_json(getvariable('export'), format = 'newline_delimited',
    columns = {source: 'VARCHAR', position: 'BIGINT', envelope: 'JSON'});

-- A field that protobuf leaves out because it is empty.
CREATE MACRO text_of(said, path) AS coalesce(json_extract_string(said, path), '');
CREATE MACRO number_of(said, path) AS coalesce(json_extract_string(said, path), '0');
CREATE MACRO flag_of(said, path) AS coalesce(json_extract_string(said, path), 'false');
-- What an enum's value is called within its enum; the first one is left out.
CREATE MACRO name_of(said, path, prefix) AS
    coalesce(replace(json_extract_string(said, path), prefix, ''), 'UNSPECIFIED');
CREATE MACRO day_of(occurred) AS date_trunc('day', occurred)::TIMESTAMP;
CREATE MACRO week_of(occurred) AS date_trunc('week', occurred)::TIMESTAMP;
CREATE MACRO month_of(occurred) AS date_trunc('month', occurred)::TIMESTAMP;

CREATE TABLE ordered AS
SELECT *, json_extract(said, '$.clear.revenue') AS revenue FROM event
WHERE type = 'rapport.profiles.v1.InteractionRecorded' AND (said->>'name') = 'Order Completed';

CREATE TABLE visited AS
SELECT *, (said->'clear'->'duration_seconds'->>'number')::DOUBLE AS seconds FROM event
WHERE type = 'rapport.profiles.v1.InteractionRecorded' AND (said->>'name') = 'Portal Visited';

CREATE TABLE answered AS
SELECT e.*, a.number - 1 AS element, name_of(a.answer, '$.kind', 'QUESTION_KIND_') AS kind,
    text_of(a.answer, '$.question') AS question, number_of(a.answer, '$.score')::INTEGER AS score,
    concat('generated=', flag_of(said, '$.generated'), ';market=', market, ';survey=',
        text_of(said, '$.survey')) AS dims
FROM event e, unnest(CAST(said->'answers' AS JSON[])) WITH ORDINALITY AS a(answer, number)
WHERE type = 'rapport.feedback.v1.ResponseSubmitted';

CREATE TABLE touched AS
SELECT *, text_of(said, '$.adapter') AS adapter, concat('adapter=', text_of(said, '$.adapter'), ';market=', market) AS dims
FROM event WHERE type = 'rapport.delivery.v1.TouchSent'
    OR (type = 'rapport.delivery.v1.TouchResolved' AND flag_of(said, '$.sent') = 'true');

-- Counts, sums, means, and what is different.

CREATE TABLE measured AS
SELECT 'orders' AS metric, 'count' AS what, week_of(occurred) AS bucket, concat('market=', market) AS dims, '' AS currency,
    NULL::DOUBLE AS number, NULL::DECIMAL(38, 6) AS amount, NULL AS thing
FROM ordered
UNION ALL
SELECT 'order-value', 'sum', week_of(occurred), concat('market=', market),
    text_of(revenue, '$.money.currency_code'), NULL,
    CASE WHEN (revenue->'money') IS NULL THEN (revenue->>'number')::DECIMAL(38, 6)
        ELSE round(number_of(revenue, '$.money.units')::DECIMAL(28, 0)
            + number_of(revenue, '$.money.nanos')::DECIMAL(28, 0) / 1000000000::DECIMAL(10, 0), 6) END, NULL
FROM ordered WHERE (revenue->'money') IS NOT NULL OR (revenue->'number') IS NOT NULL
UNION ALL
SELECT 'ordering-parties', 'distinct', week_of(occurred), concat('market=', market), '', NULL, NULL, party
FROM ordered WHERE party <> ''
UNION ALL
SELECT 'portal-visits', 'count', day_of(occurred), concat('market=', market), '', NULL, NULL, NULL FROM visited
UNION ALL
SELECT 'portal-time', 'mean', day_of(occurred), concat('market=', market), '', seconds, NULL, NULL
FROM visited WHERE seconds IS NOT NULL
UNION ALL
SELECT 'nps', 'mean', week_of(occurred), dims, '', CASE WHEN score >= 9 THEN 100 WHEN score <= 6 THEN -100 ELSE 0 END, NULL, NULL
FROM answered WHERE kind = 'NPS'
UNION ALL
SELECT 'ces', 'mean', week_of(occurred), dims, '', score, NULL, NULL FROM answered WHERE kind = 'CES'
UNION ALL
SELECT 'case-resolutions', 'count', week_of(occurred), concat('market=', market, ';outcome=', text_of(said, '$.outcome')), '',
    NULL, NULL, NULL
FROM event WHERE type = 'rapport.feedback.v1.CaseResolved'
UNION ALL
SELECT 'safety-escalations', 'count', day_of(occurred),
    concat('level=', number_of(said, '$.level'), ';market=', market), '', NULL, NULL, NULL
FROM event WHERE type = 'rapport.feedback.v1.SafetyCandidateEscalated'
UNION ALL
SELECT 'safety-late-hand-offs', 'count', day_of(occurred), concat('market=', market), '', NULL, NULL, NULL
FROM event WHERE type = 'rapport.feedback.v1.SafetyCandidateHandedOff' AND flag_of(said, '$.late') = 'true'
UNION ALL
SELECT 'decisions', 'count', week_of(occurred),
    concat('market=', market, ';policy_version=', number_of(said, '$.policy_version')), '', NULL, NULL, NULL
FROM event WHERE type = 'rapport.decisioning.v1.DecisionMade'
UNION ALL
SELECT 'suggestion-dismissals', 'count', week_of(occurred),
    concat('market=', market, ';reason=', name_of(said, '$.reason', 'DISMISS_REASON_')), '', NULL, NULL, NULL
FROM event WHERE type = 'rapport.delivery.v1.TaskDismissed'
UNION ALL
SELECT 'touches-requested', 'count', day_of(occurred),
    concat('cause=', name_of(said, '$.cause', 'TOUCH_CAUSE_'), ';channel=', name_of(said, '$.channel', 'CHANNEL_'),
        ';journey=', text_of(said, '$.journey_id')), '', NULL, NULL, NULL
FROM event WHERE type = 'rapport.delivery.v1.TouchRequested'
UNION ALL
SELECT 'touches-sent', 'count', day_of(occurred), dims, '', NULL, NULL, NULL FROM touched
UNION ALL
SELECT 'touches-skipped', 'count', day_of(occurred), concat('market=', market, ';reason=', text_of(said, '$.reason')), '',
    NULL, NULL, NULL
FROM event WHERE type = 'rapport.delivery.v1.TouchSkipped'
UNION ALL
SELECT 'unsubscribes', 'count', week_of(occurred),
    concat('channel=', name_of(said, '$.channel', 'CHANNEL_'), ';market=', text_of(said, '$.market'),
        ';purpose=', name_of(said, '$.purpose', 'PURPOSE_')), '', NULL, NULL, NULL
FROM event WHERE type = 'rapport.delivery.v1.TouchUnsubscribed';

-- Shares of things: each stands where its first event stands.

CREATE TABLE thing AS
SELECT 'csat' AS metric, week_of(occurred) AS bucket, dims, concat(id, '/', question) AS thing, occurred, position, element,
    kind = 'CSAT' AND score >= 4 AS found
FROM answered WHERE kind = 'CSAT'
UNION ALL
SELECT m.metric, week_of(t.occurred), t.dims, t.id, t.occurred, t.position, 0,
    t.id IN (SELECT e.id FROM event e WHERE e.type = m.type AND flag_of(e.said, '$.machine') = 'false')
FROM touched t, (VALUES ('delivery-rate', 'rapport.delivery.v1.TouchDelivered'),
    ('open-rate', 'rapport.delivery.v1.TouchOpened'), ('click-rate', 'rapport.delivery.v1.TouchClicked')) m(metric, type)
WHERE t.adapter <> 'task'
UNION ALL
SELECT 'suggestion-acceptance', week_of(occurred), concat('market=', market), id, occurred, position, 0,
    id IN (SELECT e.id FROM event e WHERE e.type = 'rapport.delivery.v1.TaskAccepted')
FROM touched WHERE adapter = 'task'
UNION ALL
SELECT 'response-rate', week_of(occurred), concat('market=', market), said->>'invitation_id', occurred, position, 0,
    (said->>'invitation_id') IN (SELECT e.said->>'invitation_id' FROM event e
        WHERE e.type = 'rapport.feedback.v1.InvitationAnswered')
FROM event WHERE type = 'rapport.feedback.v1.InvitationSent'
UNION ALL
SELECT 'decision-acceptance', week_of(occurred), concat('action=', text_of(c.chosen, '$.action'), ';market=', market), id, occurred,
    position, c.number - 1,
    id IN (SELECT e.id FROM event e WHERE e.type = 'rapport.decisioning.v1.RewardClosed'
        AND number_of(e.said, '$.reward')::DOUBLE > 0)
FROM event, unnest(CAST(said->'chosen' AS JSON[])) WITH ORDINALITY AS c(chosen, number)
WHERE type = 'rapport.decisioning.v1.DecisionMade';

-- Times until something ends; what has not ended lasts until the last instant that its sources recorded. The clock of a case
-- stands while it is paused and while it is resolved; what it shows then is stated.

CREATE TABLE begun AS
SELECT m.metric, m.q, ['feedback'] AS sources, week_of(occurred) AS bucket,
    concat('market=', market, ';type=', name_of(said, '$.type', 'CASE_TYPE_')) AS dims, id AS thing, occurred, position
FROM event, (VALUES ('time-to-resolution', 0.5), ('time-to-resolution-p90', 0.9)) m(metric, q)
WHERE type = 'rapport.feedback.v1.CaseOpened'
UNION ALL
SELECT m.metric, m.q, ['content'], month_of(occurred), '', concat(id, '/', number_of(said, '$.version')), occurred, position
FROM event, (VALUES ('review-cycle-time', 0.5), ('review-cycle-time-p90', 0.9)) m(metric, q)
WHERE type = 'rapport.content.v1.ModuleSubmitted'
UNION ALL
SELECT 'consent-withdrawal-time', 0.5, ['delivery', 'profiles'], week_of(occurred),
    concat('channel=', name_of(said, '$.channel', 'CHANNEL_'), ';market=', text_of(said, '$.market')),
    concat_ws('/', said->>'party_id', said->>'purpose', said->>'channel', said->>'sender_id', said->>'market'),
    occurred, position
FROM event WHERE type = 'rapport.delivery.v1.TouchUnsubscribed';

CREATE TABLE ended AS
SELECT type, concat(id, '/', number_of(said, '$.version')) AS thing, occurred, position, NULL::BIGINT AS micros
FROM event WHERE type = 'rapport.content.v1.ModuleApproved'
UNION ALL
SELECT type, concat_ws('/', said->'key'->>'party_id', said->'key'->>'purpose', said->'key'->>'channel',
    said->'key'->>'sender_id', said->'key'->>'market'), occurred, position, epoch_us(recorded) - epoch_us(occurred)
FROM event WHERE type = 'rapport.profiles.v1.ConsentWithdrawn';

-- The last thing that happened to the clock of each case.
CREATE TABLE clock AS
SELECT id AS thing, occurred, type = 'rapport.feedback.v1.CaseResolved' AS ended,
    CASE type WHEN 'rapport.feedback.v1.CaseResolved' THEN number_of(said, '$.elapsed_seconds')::BIGINT * 1000000
        WHEN 'rapport.feedback.v1.CasePaused' THEN number_of(said, '$.elapsed_micros')::BIGINT END AS shows,
    last_value(shows IGNORE NULLS) OVER (PARTITION BY id ORDER BY occurred, position) AS counted
FROM event WHERE type IN ('rapport.feedback.v1.CaseResolved', 'rapport.feedback.v1.CasePaused',
    'rapport.feedback.v1.CaseResumed', 'rapport.feedback.v1.CaseReopened')
QUALIFY row_number() OVER (PARTITION BY id ORDER BY occurred DESC, position DESC) = 1;

-- Clocks of two services differ by less. What ended before it began has ended another one.
CREATE MACRO apart() AS INTERVAL 5 MINUTE;

CREATE TABLE lasted AS
WITH first AS (
    SELECT * FROM begun QUALIFY row_number() OVER (PARTITION BY metric, thing ORDER BY occurred, position) = 1
), last AS (
    SELECT * FROM ended QUALIFY row_number() OVER (PARTITION BY type, thing ORDER BY occurred DESC, position DESC) = 1
)
SELECT f.metric, f.q, f.bucket, f.dims, l.thing IS NULL AND NOT coalesce(c.ended, false) AS open,
    greatest(0, CASE WHEN l.thing IS NOT NULL THEN coalesce(l.micros, epoch_us(l.occurred) - epoch_us(f.occurred))
        WHEN c.shows IS NOT NULL THEN c.shows
        ELSE coalesce(c.counted, 0) - epoch_us(coalesce(c.occurred, f.occurred))
            + (SELECT max(epoch_us(e.recorded)) FROM event e WHERE list_contains(f.sources, e.source))
    END) AS micros
FROM first f
LEFT JOIN clock c ON c.thing = f.thing AND c.occurred >= f.occurred - apart() AND f.sources[1] = 'feedback'
LEFT JOIN last l ON l.thing = f.thing AND l.occurred >= f.occurred - apart() AND l.type = CASE f.sources[1]
    WHEN 'content' THEN 'rapport.content.v1.ModuleApproved'
    WHEN 'delivery' THEN 'rapport.profiles.v1.ConsentWithdrawn' END;

-- The levels.

CREATE MACRO levels() AS TABLE SELECT * FROM (VALUES ('cells'), ('buckets'), ('total')) l(level);
CREATE MACRO bucket_at(level, bucket) AS CASE WHEN level <> 'total' THEN epoch_us(bucket) // 1000000 END;
CREATE MACRO dims_at(level, dims) AS CASE WHEN level = 'cells' THEN dims ELSE '' END;

CREATE TABLE figure AS
WITH levelled AS (
    SELECT metric, what, level, bucket_at(level, bucket) AS bucket, dims_at(level, dims) AS dims, currency, number, amount,
        thing
    FROM measured, levels()
), measures AS (
    SELECT metric, what, level, bucket, dims, currency, count(*) AS n, sum(amount)::DOUBLE AS total, avg(number) AS mean,
        count(DISTINCT thing) AS different, 1.96 * stddev_samp(number) / sqrt(count(*)) AS half
    FROM levelled GROUP BY metric, what, level, bucket, dims, currency
), things AS (
    SELECT metric, level, bucket_at(level, bucket) AS bucket, dims_at(level, dims) AS dims, found
    FROM (SELECT * FROM thing
        QUALIFY row_number() OVER (PARTITION BY metric, thing ORDER BY occurred, position, element) = 1), levels()
), shares AS (
    SELECT metric, level, bucket, dims, count(*) FILTER (found) / count(*) AS p, count(*) AS n, 1.96 * 1.96 AS z2
    FROM things GROUP BY metric, level, bucket, dims
), wilson AS (
    SELECT *, (p + z2 / (2 * n)) / (1 + z2 / n) AS centre,
        1.96 / (1 + z2 / n) * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) AS half
    FROM shares
), spells AS (
    SELECT metric, q, level, bucket_at(level, bucket) AS bucket, dims_at(level, dims) AS dims, micros, open
    FROM lasted, levels()
), times AS (
    SELECT metric, q, level, bucket, dims, micros, count(*) AS all_of_them, count(*) FILTER (NOT open) AS ends
    FROM spells GROUP BY metric, q, level, bucket, dims, micros
), risks AS (
    SELECT *, sum(all_of_them) OVER (PARTITION BY metric, level, bucket, dims ORDER BY micros DESC) AS at_risk FROM times
), survival AS (
    SELECT *, product(1 - ends / at_risk) OVER (PARTITION BY metric, level, bucket, dims ORDER BY micros) AS surviving
    FROM risks
), spans AS (
    SELECT metric, level, bucket, dims, min(micros) FILTER (ends > 0 AND surviving <= 1 - q + 1e-12) / 1000000 AS value,
        sum(all_of_them) AS n, sum(all_of_them - ends) AS censored
    FROM survival GROUP BY metric, level, bucket, dims
)
SELECT metric, level, bucket, dims, currency,
    CASE what WHEN 'count' THEN n WHEN 'sum' THEN total WHEN 'mean' THEN mean ELSE different END::DOUBLE AS value,
    n::BIGINT AS n, (mean - half)::DOUBLE AS lower, (mean + half)::DOUBLE AS upper, 0::BIGINT AS censored
FROM measures
UNION ALL
SELECT metric, level, bucket, dims, '', p, n, greatest(0, centre - half), least(1, centre + half), 0 FROM wilson
UNION ALL
SELECT metric, level, bucket, dims, '', value, n, NULL, NULL, censored FROM spans;
