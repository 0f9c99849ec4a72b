-- Named queries; `-- name:` starts each. Values are bound by psycopg, never pasted.

-- name: has_table
SELECT to_regclass(%(table)s) IS NOT NULL AS found

-- name: schema_version
SELECT number FROM schema_version

-- name: put_schema_version
UPDATE schema_version SET number = %(number)s

-- name: put_stamp_set
INSERT INTO stamp_set (name, path, digest, features) VALUES (%(name)s, %(path)s, %(digest)s, %(features)s)
ON CONFLICT (name) DO UPDATE SET path = excluded.path, features = excluded.features
WHERE stamp_set.digest = excluded.digest
RETURNING name

-- name: stamp_sets
SELECT name, path, digest, features FROM stamp_set ORDER BY name

-- name: put_campaign
INSERT INTO campaign (
    name, project_id, head, classes, stamp_set, encoder, rendering, policy, audit_fraction, seed, overlap, consensus
)
VALUES (
    %(name)s, %(project_id)s, %(head)s, %(classes)s, %(stamp_set)s, %(encoder)s, %(rendering)s, %(policy)s,
    %(audit_fraction)s, %(seed)s, %(overlap)s, %(consensus)s
)
RETURNING *

-- name: campaigns
SELECT * FROM campaign ORDER BY id

-- name: campaign_of_id
SELECT * FROM campaign WHERE id = %(campaign)s

-- name: delete_campaign
DELETE FROM campaign WHERE project_id = %(project)s

-- name: close_campaign
UPDATE campaign SET state = 'closed' WHERE id = %(campaign)s

-- name: put_notice
INSERT INTO notice (campaign_id, source, text) VALUES (%(campaign)s, %(source)s, %(text)s)
ON CONFLICT (campaign_id, source) DO UPDATE SET text = excluded.text, at = now() WHERE notice.text <> excluded.text

-- name: clear_notice
DELETE FROM notice WHERE campaign_id = %(campaign)s AND source = %(source)s

-- name: notices
SELECT source, text, at FROM notice WHERE campaign_id = %(campaign)s ORDER BY source

-- name: put_task
INSERT INTO task (campaign_id, task_id, stamp_set, stamp_id, audit)
VALUES (%(campaign)s, %(task)s, %(stamp_set)s, %(stamp_id)s, %(audit)s)
ON CONFLICT DO NOTHING

-- name: delete_tasks
UPDATE task SET deleted = true WHERE campaign_id = %(campaign)s AND task_id = ANY(%(tasks)s)

-- name: task_counts
SELECT
    count(*) FILTER (WHERE NOT deleted) AS tasks,
    count(*) FILTER (WHERE NOT deleted AND audit) AS audit
FROM task WHERE campaign_id = %(campaign)s

-- name: put_inbox
INSERT INTO inbox (project_id, action, body) VALUES (%(project)s, %(action)s, %(body)s) RETURNING id

-- name: take_inbox
SELECT id, project_id, body::text AS body FROM inbox
WHERE processed_at IS NULL ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: finish_inbox
UPDATE inbox SET processed_at = now(), error = %(error)s WHERE id = %(id)s

-- name: retry_inbox
UPDATE inbox SET processed_at = NULL, error = NULL WHERE project_id = %(project)s AND error IS NOT NULL

-- name: failed_inbox
SELECT id FROM inbox WHERE project_id = %(project)s AND error IS NOT NULL AND action LIKE 'ANNOTATION%%'

-- name: settle_inbox
UPDATE inbox SET error = NULL WHERE id = ANY(%(ids)s)

-- name: put_set_aside
INSERT INTO set_aside (campaign_id, annotation_id, task_id, reason)
VALUES (%(campaign)s, %(annotation)s, %(task)s, %(reason)s)
ON CONFLICT (campaign_id, annotation_id)
DO UPDATE SET task_id = excluded.task_id, reason = excluded.reason, at = now()
WHERE set_aside.reason <> excluded.reason

-- name: clear_set_aside
DELETE FROM set_aside WHERE campaign_id = %(campaign)s AND annotation_id = %(annotation)s

-- name: annotations_aside
SELECT annotation_id, task_id FROM set_aside WHERE campaign_id = %(campaign)s ORDER BY annotation_id

-- name: all_set_aside
SELECT annotation_id AS annotation, NULL::bigint AS webhook, reason, at FROM set_aside WHERE campaign_id = %(campaign)s
UNION ALL
SELECT NULL, id, error, processed_at FROM inbox WHERE project_id = %(project)s AND error IS NOT NULL
ORDER BY at, annotation, webhook

-- name: inbox_state
SELECT
    count(*) FILTER (WHERE processed_at IS NULL) AS waiting,
    count(*) FILTER (WHERE error IS NOT NULL) AS failed
FROM inbox WHERE project_id = %(project)s

-- name: put_annotation_event
INSERT INTO label_event (
    campaign_id, action, task_id, annotation_id, label, annotator, result, parent_prediction, lead_time, source,
    happened_at
)
VALUES (
    %(campaign)s, %(action)s, %(task)s, %(annotation)s, %(label)s, %(annotator)s, %(result)s, %(parent_prediction)s,
    %(lead_time)s, %(source)s, %(happened_at)s
)
ON CONFLICT DO NOTHING
RETURNING id

-- name: note_given_on_page
UPDATE label_event SET source = 'explore'
WHERE campaign_id = %(campaign)s AND annotation_id = %(annotation)s AND action <> 'deleted'
    AND happened_at = %(happened_at)s

-- name: put_deletion
INSERT INTO label_event (campaign_id, action, annotation_id, source, happened_at)
VALUES (%(campaign)s, 'deleted', %(annotation)s, %(source)s, now())
ON CONFLICT DO NOTHING
RETURNING id

-- name: put_snapshot_label
INSERT INTO label_event (campaign_id, action, stamp_set, stamp_id, label, source, happened_at)
VALUES (%(campaign)s, 'imported', %(stamp_set)s, %(stamp_id)s, %(label)s, 'snapshot', now())

-- name: put_mark
INSERT INTO label_event (
    campaign_id, action, stamp_set, stamp_id, label, annotator, person, source, happened_at
)
VALUES (
    %(campaign)s, %(action)s, %(stamp_set)s, %(stamp_id)s, %(label)s, %(annotator)s, %(person)s, 'explore', now()
)
RETURNING id

-- name: known_annotations
SELECT annotation_id, happened_at FROM current_annotation WHERE campaign_id = %(campaign)s

-- name: reconciled
UPDATE campaign SET reconciled_at = %(at)s WHERE id = %(campaign)s

-- name: last_event
SELECT coalesce(max(id), 0) AS id FROM label_event WHERE campaign_id = %(campaign)s

-- name: object_labels
SELECT DISTINCT ON (annotation.stamp_set, annotation.stamp_id)
    annotation.stamp_set, annotation.stamp_id, annotation.annotation_id, annotation.task_id,
    annotation.result::text AS result, task.audit
FROM current_annotation AS annotation
JOIN task ON task.campaign_id = annotation.campaign_id AND task.task_id = annotation.task_id
WHERE annotation.campaign_id = %(campaign)s AND annotation.action = 'labelled'
ORDER BY annotation.stamp_set, annotation.stamp_id, annotation.happened_at DESC, annotation.id DESC

-- name: campaign_sets
SELECT DISTINCT stamp_set FROM task WHERE campaign_id = %(campaign)s AND NOT deleted ORDER BY stamp_set

-- name: labelled_since
SELECT count(DISTINCT (task.stamp_set, task.stamp_id)) AS stamps
FROM label_event AS event
JOIN task ON task.campaign_id = event.campaign_id AND task.task_id = event.task_id
WHERE event.campaign_id = %(campaign)s AND event.id > %(event)s

-- name: votes
WITH shown AS (
    SELECT stamp_set, stamp_id, bool_or(audit) AS blind, bool_or(audit AND NOT deleted) AS audited
    FROM task WHERE campaign_id = %(campaign)s
    GROUP BY stamp_set, stamp_id
)
SELECT
    vote.stamp_set, vote.stamp_id, vote.label, vote.annotator, vote.person, vote.given, vote.happened_at,
    coalesce(shown.blind, false) AS blind, coalesce(shown.audited, false) AS audited
FROM vote
LEFT JOIN shown USING (stamp_set, stamp_id)
WHERE vote.campaign_id = %(campaign)s
ORDER BY vote.stamp_set, vote.stamp_id, vote.happened_at

-- name: annotation_counts
SELECT
    count(*) FILTER (WHERE action = 'labelled') AS labelled,
    count(*) FILTER (WHERE action = 'skipped') AS skipped,
    count(DISTINCT annotator) AS annotators,
    count(*) FILTER (WHERE stamp_set IS NULL) AS without_stamp
FROM current_annotation WHERE campaign_id = %(campaign)s

-- name: unlabelled_tasks
WITH tally AS (
    SELECT task_id, label, count(*) AS votes FROM current_annotation
    WHERE campaign_id = %(campaign)s AND action = 'labelled'
    GROUP BY task_id, label
),
seen AS (
    SELECT task_id, sum(votes) AS votes, ln(sum(votes)) - sum(votes * ln(votes)) / sum(votes) AS disagreement
    FROM tally GROUP BY task_id
),
-- Label Studio serves such a task to nobody: for it an odd annotation is one like any other
odd AS (
    SELECT task_id, count(*) AS annotations FROM set_aside
    WHERE campaign_id = %(campaign)s
        AND NOT EXISTS (
            SELECT FROM current_annotation AS earlier
            WHERE earlier.campaign_id = set_aside.campaign_id
                AND earlier.annotation_id = set_aside.annotation_id
                AND earlier.action = 'labelled'
        )
    GROUP BY task_id
)
SELECT
    task.task_id, task.stamp_set, task.stamp_id, task.audit,
    greatest(coalesce(seen.disagreement, 0), 0)::double precision AS disagreement
FROM task
JOIN campaign ON campaign.id = task.campaign_id
LEFT JOIN seen ON seen.task_id = task.task_id
LEFT JOIN odd ON odd.task_id = task.task_id
WHERE task.campaign_id = %(campaign)s
    AND NOT task.deleted
    AND coalesce(seen.votes, 0) + coalesce(odd.annotations, 0) < campaign.overlap
    AND NOT EXISTS (
        SELECT FROM current_mark AS mark
        WHERE mark.campaign_id = task.campaign_id
            AND mark.stamp_set = task.stamp_set
            AND mark.stamp_id = task.stamp_id
            AND mark.action = 'labelled'
        GROUP BY mark.stamp_id
        HAVING count(DISTINCT mark.label) = 1 AND min(mark.label) <> 'unsure'
    )
ORDER BY task.task_id

-- name: tasks_by_id
SELECT task_id, stamp_set, stamp_id, audit FROM task
WHERE campaign_id = %(campaign)s AND task_id = ANY(%(tasks)s)

-- name: put_version
INSERT INTO model_version (
    campaign_id, version, parent, weights, detector, encoder, seed, last_event, labels, audit_labels, metrics, revision
)
VALUES (
    %(campaign)s, %(version)s, %(parent)s, %(weights)s, %(detector)s, %(encoder)s, %(seed)s, %(last_event)s, %(labels)s,
    %(audit_labels)s, %(metrics)s, %(revision)s
)
ON CONFLICT DO NOTHING

-- name: promote
INSERT INTO promotion (campaign_id, version, reason) VALUES (%(campaign)s, %(version)s, %(reason)s)

-- name: announce
SELECT pg_notify('galaxyloop_campaign', %(campaign)s::text)

-- name: active_version
SELECT version.* FROM promotion
JOIN model_version AS version USING (campaign_id, version)
WHERE promotion.campaign_id = %(campaign)s
ORDER BY promotion.id DESC LIMIT 1

-- name: first_version
SELECT * FROM model_version WHERE campaign_id = %(campaign)s AND parent IS NULL ORDER BY created_at LIMIT 1

-- name: promotions
SELECT version, reason, promoted_at FROM promotion WHERE campaign_id = %(campaign)s ORDER BY id DESC

-- name: versions
SELECT
    version.version, version.parent, version.encoder, version.seed, version.last_event, version.labels,
    version.audit_labels, version.metrics, version.revision, version.created_at, version.detector,
    version.weights IS NULL AND version.detector IS NULL AS cold_start,
    max(promotion.promoted_at) AS promoted_at
FROM model_version AS version
LEFT JOIN promotion USING (campaign_id, version)
WHERE version.campaign_id = %(campaign)s
GROUP BY version.campaign_id, version.version
ORDER BY version.created_at, version.version

-- name: begin_run
INSERT INTO learning_run (campaign_id) VALUES (%(campaign)s) RETURNING id

-- name: report_run
UPDATE learning_run SET phase = %(phase)s, done = %(done)s, total = %(total)s, updated_at = now() WHERE id = %(run)s

-- name: finish_run
UPDATE learning_run
SET version = %(version)s, outcome = %(outcome)s, last_event = %(last_event)s, seconds = %(seconds)s,
    updated_at = now(), finished_at = now()
WHERE id = %(run)s

-- name: forget_runs
DELETE FROM learning_run WHERE campaign_id = %(campaign)s AND id <= %(run)s AND outcome IS NULL

-- name: last_run
SELECT version, outcome, last_event, seconds, finished_at FROM learning_run
WHERE campaign_id = %(campaign)s AND outcome IS NOT NULL ORDER BY id DESC LIMIT 1

-- name: present_run
SELECT phase, done, total, started_at, updated_at FROM learning_run AS run
WHERE campaign_id = %(campaign)s AND outcome IS NULL
    AND id = (SELECT max(id) FROM learning_run AS newest WHERE newest.campaign_id = run.campaign_id)

-- name: put_push
INSERT INTO push (campaign_id, version, policy, seed, batch, ranked, last_event)
VALUES (%(campaign)s, %(version)s, %(policy)s, %(seed)s, %(batch)s, %(ranked)s, %(last_event)s)
RETURNING id

-- name: put_pick
INSERT INTO pick (push_id, rank, task_id, priority, propensity, audit)
VALUES (%(push)s, %(rank)s, %(task)s, %(priority)s, %(propensity)s, %(audit)s)

-- name: push_served
UPDATE push SET served_at = now() WHERE id = %(push)s

-- name: last_push
SELECT id, version, policy, seed, batch, ranked, last_event, started_at, served_at FROM push
WHERE campaign_id = %(campaign)s AND served_at IS NOT NULL ORDER BY id DESC LIMIT 1

-- name: picks
SELECT rank, task_id, priority, propensity, audit FROM pick WHERE push_id = %(push)s ORDER BY rank

-- name: place_in_queue
SELECT
    push.id, push.version, push.policy, push.ranked, push.served_at, pick.rank, pick.priority, pick.propensity,
    pick.audit
FROM task
JOIN pick ON pick.task_id = task.task_id
JOIN push ON push.id = pick.push_id AND push.campaign_id = task.campaign_id AND push.served_at IS NOT NULL
WHERE task.campaign_id = %(campaign)s AND task.stamp_set = %(stamp_set)s AND task.stamp_id = %(stamp_id)s
ORDER BY push.id DESC LIMIT 1

-- name: place_in_round
SELECT
    round.policy, round.candidates AS ranked, round.made_at AS served_at, pick.rank, pick.propensity,
    (SELECT count(*) FROM round AS one WHERE one.campaign_id = round.campaign_id AND one.id <= round.id) AS round
FROM round_pick AS pick
JOIN round ON round.id = pick.round_id
JOIN campaign ON campaign.id = round.campaign_id AND campaign.stamp_set = %(stamp_set)s
WHERE round.campaign_id = %(campaign)s AND pick.stamp_id = %(stamp_id)s
ORDER BY round.id DESC LIMIT 1

-- name: task_of_stamp
SELECT task_id, audit FROM task
WHERE campaign_id = %(campaign)s AND stamp_set = %(stamp_set)s AND stamp_id = %(stamp_id)s AND NOT deleted
ORDER BY task_id LIMIT 1

-- name: all_versions
SELECT version FROM model_version ORDER BY created_at DESC, version

-- name: forget_inbox
DELETE FROM inbox WHERE processed_at < now() - interval '7 days' AND error IS NULL

-- name: put_pool
INSERT INTO pool (campaign_id, members, slice, refill_below)
VALUES (%(campaign)s, %(members)s, %(slice)s, %(refill_below)s)

-- name: pool
SELECT members, slice, refill_below, exhausted FROM pool WHERE campaign_id = %(campaign)s

-- name: exhaust_pool
UPDATE pool SET exhausted = true WHERE campaign_id = %(campaign)s

-- name: try_lock_queue
SELECT pg_try_advisory_lock(1729, %(campaign)s::integer) AS taken

-- name: pool_tasks
SELECT task.stamp_id FROM task
JOIN campaign ON campaign.id = task.campaign_id AND campaign.stamp_set = task.stamp_set
WHERE task.campaign_id = %(campaign)s

-- name: newest_task
SELECT coalesce(max(task_id), 0) AS task_id FROM task WHERE campaign_id = %(campaign)s

-- name: put_refill
INSERT INTO refill (campaign_id, policy, seed, tasks) VALUES (%(campaign)s, %(policy)s, %(seed)s, %(tasks)s)
RETURNING id

-- name: put_refilled
INSERT INTO refilled_task (campaign_id, task_id, refill_id, propensity)
VALUES (%(campaign)s, %(task)s, %(refill)s, %(propensity)s)

-- name: refills
SELECT refill.id, refill.policy, refill.seed, refill.tasks, refill.imported_at FROM refill
WHERE campaign_id = %(campaign)s ORDER BY id

-- name: refilled
SELECT task_id, refill_id, propensity FROM refilled_task WHERE campaign_id = %(campaign)s ORDER BY task_id

-- name: give_project
UPDATE campaign SET project_id = %(project)s WHERE id = %(campaign)s AND project_id IS NULL RETURNING *

-- name: take_project
WITH taken AS (
    UPDATE campaign SET project_id = NULL WHERE project_id = %(project)s RETURNING id
)
DELETE FROM task WHERE campaign_id IN (SELECT id FROM taken)

-- name: put_example
INSERT INTO search_example (campaign_id, name, person, features)
VALUES (%(campaign)s, %(name)s, %(person)s, %(features)s)
RETURNING id

-- name: examples
SELECT id, name, person, features FROM search_example WHERE campaign_id = %(campaign)s ORDER BY id

-- name: delete_example
DELETE FROM search_example WHERE campaign_id = %(campaign)s AND id = %(id)s AND person = %(person)s RETURNING id

-- name: put_round
INSERT INTO round (campaign_id, person, annotator, policy, seed, candidates, last_event)
VALUES (%(campaign)s, %(person)s, %(annotator)s, %(policy)s, %(seed)s, %(candidates)s, %(last_event)s)
RETURNING id, person, policy, seed, candidates, made_at

-- name: put_round_pick
INSERT INTO round_pick (round_id, rank, stamp_id, probability, similarity, worth, propensity)
VALUES (%(round)s, %(rank)s, %(stamp_id)s, %(probability)s, %(similarity)s, %(worth)s, %(propensity)s)

-- name: round_count
SELECT count(*) AS rounds FROM round WHERE campaign_id = %(campaign)s

-- name: last_round
SELECT id, person, policy, seed, candidates, made_at FROM round
WHERE campaign_id = %(campaign)s AND person = %(person)s
ORDER BY id DESC LIMIT 1

-- name: round_picks
SELECT stamp_id, probability, similarity, worth, propensity FROM round_pick WHERE round_id = %(round)s ORDER BY rank

-- name: before_others
SELECT pick.stamp_id
FROM round_pick AS pick
JOIN (
    SELECT DISTINCT ON (person) id FROM round
    WHERE campaign_id = %(campaign)s AND person <> %(person)s AND made_at > now() - interval '10 minutes'
    ORDER BY person, id DESC
) AS latest ON latest.id = pick.round_id

-- name: rounds
WITH answered AS (
    SELECT DISTINCT ON (vote.stamp_id, vote.person, vote.annotator) round.id AS round_id, vote.label
    FROM vote
    JOIN campaign ON campaign.id = vote.campaign_id AND campaign.stamp_set = vote.stamp_set
    JOIN round
        ON round.campaign_id = vote.campaign_id
        AND round.made_at <= vote.happened_at
        AND (round.person = vote.person OR round.annotator = vote.annotator)
    JOIN round_pick AS pick ON pick.round_id = round.id AND pick.stamp_id = vote.stamp_id
    WHERE vote.campaign_id = %(campaign)s
    ORDER BY vote.stamp_id, vote.person, vote.annotator, round.id DESC
)
SELECT
    round.id, round.person, round.policy, round.seed, round.made_at,
    (SELECT count(*) FROM round_pick WHERE round_pick.round_id = round.id) AS shown,
    count(answered.label) FILTER (WHERE answered.label = 'yes') AS yes,
    count(answered.label) FILTER (WHERE answered.label = 'no') AS no,
    count(answered.label) FILTER (WHERE answered.label = 'unsure') AS unsure
FROM round
LEFT JOIN answered ON answered.round_id = round.id
WHERE round.campaign_id = %(campaign)s
GROUP BY round.id
ORDER BY round.id

-- name: own_answers
SELECT stamp_id, label, NULL::integer AS annotation_id, true AS here, happened_at
FROM current_mark
WHERE campaign_id = %(campaign)s AND stamp_set = %(stamp_set)s AND person = %(person)s AND action = 'labelled'
UNION ALL
SELECT
    stamp_id, label, annotation_id,
    EXISTS (
        SELECT FROM label_event AS made
        WHERE made.campaign_id = annotation.campaign_id
            AND made.annotation_id = annotation.annotation_id
            AND made.source = 'explore'
    ) AS here,
    happened_at
FROM current_annotation AS annotation
WHERE campaign_id = %(campaign)s
    AND stamp_set = %(stamp_set)s
    AND annotator = %(annotator)s::integer
    AND action = 'labelled'
ORDER BY happened_at DESC

-- name: search_events
SELECT
    event.id, event.action, coalesce(event.stamp_id, task.stamp_id) AS stamp_id, event.label,
    coalesce(
        event.person, known.person, 'annotator ' || coalesce(event.annotator, earlier.annotator)::text, 'the start'
    ) AS person,
    event.source, event.happened_at
FROM label_event AS event
LEFT JOIN LATERAL (
    SELECT first.task_id, first.annotator FROM label_event AS first
    WHERE first.campaign_id = event.campaign_id
        AND first.annotation_id = event.annotation_id
        AND first.task_id IS NOT NULL
    ORDER BY first.id LIMIT 1
) AS earlier ON event.action = 'deleted'
LEFT JOIN task ON task.campaign_id = event.campaign_id AND task.task_id = coalesce(event.task_id, earlier.task_id)
LEFT JOIN LATERAL (
    SELECT round.person FROM round
    WHERE round.annotator = coalesce(event.annotator, earlier.annotator)
    ORDER BY round.id DESC LIMIT 1
) AS known ON true
WHERE event.campaign_id = %(campaign)s AND event.action <> 'skipped'
ORDER BY event.id DESC
LIMIT %(limit)s

-- name: people
SELECT DISTINCT ON (annotator) annotator, person FROM round
WHERE annotator IS NOT NULL
    AND annotator IN (SELECT annotator FROM label_event WHERE campaign_id = %(campaign)s)
ORDER BY annotator, id DESC
