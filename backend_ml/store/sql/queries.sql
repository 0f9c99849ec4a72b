-- Named queries: `-- name:` starts each, and the line under it says what it is for. Values are bound by psycopg, never
-- pasted.

-- name: has_table
-- Says whether the database has a table.
SELECT to_regclass(%(table)s) IS NOT NULL AS found

-- name: schema_version
-- Gives the number of migrations that the database has seen.
SELECT number FROM schema_version

-- name: put_schema_version
-- Notes that the database has seen so many migrations.
UPDATE schema_version SET number = %(number)s

-- name: put_stamp_set
-- Registers a stamp set, or its new place; nothing is returned if another one has its name.
INSERT INTO stamp_set (name, path, digest, features) VALUES (%(name)s, %(path)s, %(digest)s, %(features)s)
ON CONFLICT (name) DO UPDATE SET path = excluded.path, features = excluded.features
WHERE stamp_set.digest = excluded.digest
RETURNING name

-- name: grow_stamp_set
-- Registers a stamp set that has grown; nothing is returned if it is another one by now.
UPDATE stamp_set SET digest = %(digest)s, features = %(features)s WHERE name = %(name)s AND digest = %(former)s
RETURNING name

-- name: readers_of_set
-- Names the campaigns, but for closed ones, that read a stamp set by another encoder.
SELECT name FROM campaign
WHERE state <> 'closed' AND encoder <> %(encoder)s
    AND (
        stamp_set = %(stamp_set)s
        OR EXISTS (SELECT FROM task WHERE task.campaign_id = campaign.id AND task.stamp_set = %(stamp_set)s)
    )
ORDER BY name

-- name: stamp_sets
-- Lists the registered stamp sets, by name.
SELECT name, path, digest, features FROM stamp_set ORDER BY name

-- name: put_campaign
-- Makes a campaign.
INSERT INTO campaign (
    name, project_id, kind, classes, stamp_set, encoder, rendering, policy, audit_fraction, seed, overlap, consensus,
    simulated, simulated_stamps, picture_size, label_config, adopted, columns
)
VALUES (
    %(name)s, %(project_id)s, %(kind)s, %(classes)s, %(stamp_set)s, %(encoder)s, %(rendering)s, %(policy)s,
    %(audit_fraction)s, %(seed)s, %(overlap)s, %(consensus)s, %(simulated)s, %(simulated_stamps)s, %(picture_size)s,
    %(label_config)s, %(adopted)s, %(columns)s
)
RETURNING *

-- name: campaigns
-- Lists all campaigns, oldest first.
SELECT * FROM campaign ORDER BY id

-- name: campaign_of_id
-- Gives one campaign.
SELECT * FROM campaign WHERE id = %(campaign)s

-- name: give_project
-- Gives a search its Label Studio project; nothing is returned if it has one already.
UPDATE campaign SET project_id = %(project)s WHERE id = %(campaign)s AND project_id IS NULL RETURNING *

-- name: take_project
-- Takes a search's project and tasks away again, when sending it there failed half-way.
WITH taken AS (
    UPDATE campaign SET project_id = NULL WHERE project_id = %(project)s RETURNING id
)
DELETE FROM task WHERE campaign_id IN (SELECT id FROM taken)

-- name: delete_campaign
-- Forgets a campaign and all that is of it, when making it failed half-way, and announces it, at commit.
WITH gone AS (
    DELETE FROM campaign WHERE project_id = %(project)s RETURNING id
)
SELECT pg_notify('galaxyloop_campaign', id::text) FROM gone

-- name: close_campaign
-- Closes a campaign; what it knows stays, what was asked for during a pause is forgotten.
WITH forgotten AS (
    DELETE FROM kept_job WHERE campaign_id = %(campaign)s
)
UPDATE campaign SET state = 'closed' WHERE id = %(campaign)s

-- name: pause_campaign
-- Pauses an open campaign; nothing is returned if it is not open.
UPDATE campaign SET state = 'paused' WHERE id = %(campaign)s AND state = 'open' RETURNING id

-- name: open_campaign
-- Opens a campaign that is in another state; nothing is returned if it is not.
UPDATE campaign SET state = 'open', links_lapsed = false
WHERE id = %(campaign)s AND state = %(state)s
RETURNING id

-- name: lapse_links
-- Lets a campaign's links to pictures hold for who is signed in alone.
UPDATE campaign SET links_lapsed = true WHERE id = %(campaign)s

-- name: rotate_links
-- Lets a campaign's signed links end; Label Studio's texts have to follow.
UPDATE campaign SET link_series = link_series + 1, relinks = relinks + 1 WHERE id = %(campaign)s RETURNING *

-- name: gave_links
-- Notes that Label Studio was given links of a series, which may have been rotated meanwhile.
UPDATE campaign SET relinks = relinks + 1 WHERE id = %(campaign)s AND link_series <> %(series)s

-- name: relinked
-- Notes that Label Studio's texts have the links that held when this many reasons were there to write them.
UPDATE campaign SET relinks = relinks - %(relinks)s WHERE id = %(campaign)s

-- name: yield_name
-- Takes a name from the closed campaign that has it: `rings` becomes `rings (closed 1)`.
UPDATE campaign
SET name = (
    SELECT %(name)s || ' (closed ' || min(number) || ')'
    FROM generate_series(1, 100000) AS number
    WHERE NOT EXISTS (SELECT FROM campaign AS other WHERE other.name = %(name)s || ' (closed ' || number || ')')
)
WHERE name = %(name)s AND state = 'closed'

-- name: change_terms
-- Gives a campaign another policy or overlap, where one is given.
UPDATE campaign
SET policy = coalesce(%(policy)s, policy), overlap = coalesce(%(overlap)s, overlap)
WHERE id = %(campaign)s

-- name: put_person_aside
-- Sets a person's labels aside; nothing is returned if they are already.
INSERT INTO person_aside (campaign_id, person, annotator) VALUES (%(campaign)s, %(person)s, %(annotator)s)
ON CONFLICT DO NOTHING
RETURNING person

-- name: clear_person_aside
-- Lets a person's labels count again.
DELETE FROM person_aside WHERE campaign_id = %(campaign)s AND person = %(person)s RETURNING person

-- name: people_aside
-- Lists those whose labels do not count.
SELECT person, annotator, at FROM person_aside WHERE campaign_id = %(campaign)s ORDER BY person

-- name: people_labelling
-- Lists who ever labelled in a campaign: their ids in Label Studio, or their names on the search page, or both.
SELECT DISTINCT annotator, person FROM label_event
WHERE campaign_id = %(campaign)s AND (annotator IS NOT NULL OR person IS NOT NULL)
ORDER BY annotator, person

-- name: put_renamed_class
-- Notes that a class has another name now, or is a part of another one.
INSERT INTO renamed_class (campaign_id, said, counts_as, merged, place, simulated)
VALUES (%(campaign)s, %(said)s, %(counts_as)s, %(merged)s, %(place)s, %(simulated)s)

-- name: undo_renamed_class
-- Forgets that a class has another name.
DELETE FROM renamed_class WHERE campaign_id = %(campaign)s AND said = %(said)s

-- name: renamed_classes
-- Lists the classes that have another name, or are a part of another one.
SELECT said, counts_as, merged, place, simulated FROM renamed_class WHERE campaign_id = %(campaign)s

-- name: put_classes
-- Gives a campaign other classes, and what labels of former ones count as.
UPDATE campaign SET classes = %(classes)s, renamed = %(renamed)s, simulated = %(simulated)s WHERE id = %(campaign)s

-- name: add_classes
-- Gives a campaign classes beside those it has; nothing is returned if it has others by now.
UPDATE campaign SET classes = %(known)s::text[] || %(new)s::text[]
WHERE id = %(campaign)s AND classes = %(known)s::text[]
RETURNING id

-- name: put_change
-- Logs who changed what of a campaign.
INSERT INTO change (campaign_id, person, what, details) VALUES (%(campaign)s, %(person)s, %(what)s, %(details)s)

-- name: changes
-- Lists what was changed of a campaign, newest first.
SELECT person, what, details, at FROM change WHERE campaign_id = %(campaign)s ORDER BY id DESC

-- name: reconciled
-- Notes up to when a campaign was compared with Label Studio.
UPDATE campaign SET reconciled_at = %(at)s WHERE id = %(campaign)s

-- name: put_notice
-- Sets a source's notice; one of the same text keeps its time, and of a campaign that is gone none is kept.
INSERT INTO notice (campaign_id, source, text)
SELECT id, %(source)s, %(text)s FROM campaign WHERE id = %(campaign)s FOR KEY SHARE
ON CONFLICT (campaign_id, source) DO UPDATE SET text = excluded.text, at = now() WHERE notice.text <> excluded.text

-- name: clear_notice
-- Clears a source's notice.
DELETE FROM notice WHERE campaign_id = %(campaign)s AND source = %(source)s

-- name: notices
-- Lists what the team should know of a campaign.
SELECT source, text, at FROM notice WHERE campaign_id = %(campaign)s ORDER BY source

-- name: put_task
-- Notes which stamp a task shows; one that is known stays as it is.
INSERT INTO task (campaign_id, task_id, stamp_set, stamp_id, audit)
VALUES (%(campaign)s, %(task)s, %(stamp_set)s, %(stamp_id)s, %(audit)s)
ON CONFLICT DO NOTHING

-- name: put_adopted_task
-- Notes which stamp a task shows whose data name a picture; one that is known stays as it is, with its labels.
INSERT INTO task (campaign_id, task_id, stamp_set, stamp_id, audit, picture)
VALUES (%(campaign)s, %(task)s, %(stamp_set)s, %(stamp_id)s, %(audit)s, %(picture)s)
ON CONFLICT DO NOTHING

-- name: adopted_stamps
-- Gives the stamps of tasks whose data name a picture, and which picture it was.
SELECT task_id, stamp_set, stamp_id, picture FROM task
WHERE campaign_id = %(campaign)s AND task_id = ANY(%(tasks)s) AND picture IS NOT NULL AND NOT deleted

-- name: known_tasks
-- Lists the tasks that a campaign knows, deleted ones too, and the picture that each was fetched from, if it was.
SELECT task_id, picture, deleted FROM task WHERE campaign_id = %(campaign)s

-- name: delete_tasks
-- Notes that tasks are gone from Label Studio; their labels no longer count.
UPDATE task SET deleted = true WHERE campaign_id = %(campaign)s AND task_id = ANY(%(tasks)s) AND NOT deleted
RETURNING task_id

-- name: task_counts
-- Counts a campaign's tasks, and those of its audit slice.
SELECT
    count(*) FILTER (WHERE NOT deleted) AS tasks,
    count(*) FILTER (WHERE NOT deleted AND audit) AS audit
FROM task WHERE campaign_id = %(campaign)s

-- name: task_of_stamp
-- Finds the task that shows a stamp.
SELECT task_id, audit FROM task
WHERE campaign_id = %(campaign)s AND stamp_set = %(stamp_set)s AND stamp_id = %(stamp_id)s AND NOT deleted
ORDER BY task_id LIMIT 1

-- name: tasks_of_stamps
-- Finds the tasks that show some stamps: the first of each.
SELECT DISTINCT ON (stamp_set, stamp_id) stamp_set, stamp_id, task_id
FROM task JOIN unnest(%(stamp_sets)s::text[], %(stamp_ids)s::bigint[]) AS asked (stamp_set, stamp_id)
    USING (stamp_set, stamp_id)
WHERE campaign_id = %(campaign)s AND NOT deleted
ORDER BY stamp_set, stamp_id, task_id

-- name: shown_rows
-- Gives the stamps that a campaign's tasks show, deleted ones too, and which of them are of the audit slice, by set.
SELECT
    stamp_set, array_agg(stamp_id ORDER BY stamp_id) AS rows,
    array_agg(stamp_id ORDER BY stamp_id) FILTER (WHERE audit) AS audit
FROM (
    SELECT stamp_set, stamp_id, bool_or(audit) AS audit FROM task WHERE campaign_id = %(campaign)s
    GROUP BY stamp_set, stamp_id
) AS shown
GROUP BY stamp_set

-- name: audit_stamps
-- Gives those of some stamps that a task of the audit slice shows.
SELECT DISTINCT stamp_set, stamp_id FROM task
WHERE campaign_id = %(campaign)s AND audit AND stamp_set = ANY(%(stamp_sets)s) AND stamp_id = ANY(%(stamp_ids)s)

-- name: detected_sets
-- Names the stamp sets that a campaign's tasks show; none if they are a part of a pool, on which nobody detects as a whole.
SELECT DISTINCT stamp_set FROM task
WHERE campaign_id = %(campaign)s AND NOT deleted
    AND NOT EXISTS (SELECT FROM pool WHERE pool.campaign_id = %(campaign)s)
ORDER BY stamp_set

-- name: campaign_sets
-- Names the stamp sets that a campaign's tasks show.
SELECT DISTINCT stamp_set FROM task WHERE campaign_id = %(campaign)s AND NOT deleted ORDER BY stamp_set

-- name: unlabelled_tasks
-- Lists the tasks that wait for a label, with the labels they lack and the entropy in nats of those they have.
SELECT task_id, stamp_set, stamp_id, audit, disagreement, lacking FROM waiting_task
WHERE campaign_id = %(campaign)s
ORDER BY task_id

-- name: newest_task
-- Gives the newest task that a campaign knows: tasks after it were imported by a process that was killed.
SELECT coalesce(max(task_id), 0) AS task_id FROM task WHERE campaign_id = %(campaign)s

-- name: put_pool
-- Gives a campaign the pool that its tasks come from.
INSERT INTO pool (campaign_id, members, slice, refill_below)
VALUES (%(campaign)s, %(members)s, %(slice)s, %(refill_below)s)

-- name: widen_pool
-- Adds stamps to a pool, which may be exhausted.
UPDATE pool SET added = added || %(members)s::bytea, exhausted = false WHERE campaign_id = %(campaign)s

-- name: pool
-- Gives a campaign's pool.
SELECT members, added, slice, refill_below, exhausted FROM pool WHERE campaign_id = %(campaign)s

-- name: exhaust_pool
-- Notes that every stamp of a pool has become a task.
UPDATE pool SET exhausted = true WHERE campaign_id = %(campaign)s

-- name: tasks_of_set
-- Lists the stamps of a set that are a campaign's tasks, deleted ones too: none becomes a task twice.
SELECT stamp_id FROM task WHERE campaign_id = %(campaign)s AND stamp_set = %(stamp_set)s

-- name: labelled_for
-- Lists the stamps that people labelled or drew on, in a campaign or, if `elsewhere`, in any of its kind and classes.
SELECT DISTINCT said.stamp_set, said.stamp_id
FROM (
    SELECT campaign_id, stamp_set, stamp_id FROM vote
    UNION
    SELECT campaign_id, stamp_set, stamp_id FROM counted_annotation
    WHERE action = 'labelled' AND stamp_set IS NOT NULL
) AS said
JOIN campaign AS other ON other.id = said.campaign_id
JOIN campaign AS asking ON asking.id = %(campaign)s
WHERE other.id = asking.id OR (%(elsewhere)s AND other.kind = asking.kind AND other.classes = asking.classes)
ORDER BY said.stamp_set, said.stamp_id

-- name: labelled_stamps
-- Lists the stamps that people labelled or drew on, in whichever campaign.
SELECT stamp_set, stamp_id FROM vote
UNION
SELECT stamp_set, stamp_id FROM counted_annotation WHERE action = 'labelled' AND stamp_set IS NOT NULL
ORDER BY stamp_set, stamp_id

-- name: try_lock_queue
-- Takes the lock of a campaign's queue, if nobody has it: pushes and refills run one at a time.
SELECT pg_try_advisory_lock(1729, %(campaign)s::integer) AS taken

-- name: try_lock_encoder
-- Takes the lock of a campaign's encoder, if nobody has it: a worker taken for dead may still be training.
SELECT pg_try_advisory_lock(1730, %(campaign)s::integer) AS taken

-- name: try_lock_features
-- Takes a share of an encoder's features, unless somebody deletes them: any number of processes may make them at once.
SELECT pg_try_advisory_lock_shared(1734, hashtext(%(encoder)s)) AS taken

-- name: features_are_free
-- Has an encoder's features to itself until the transaction ends, if nobody makes some and no job is asked to.
SELECT
    pg_try_advisory_xact_lock(1734, hashtext(%(encoder)s)) AND NOT EXISTS (
        SELECT FROM procrastinate_jobs
        WHERE task_name = 'pool:embed' AND status IN ('todo', 'doing') AND args ->> 'encoder' = %(encoder)s
    ) AS taken

-- name: try_lock_connection
-- Takes the lock of a campaign's connection to Label Studio and of its project's fields, if nobody has it.
-- Who closes it must have the last word, and Label Studio saves all fields of a project for a change of one.
SELECT pg_try_advisory_lock(1731, %(campaign)s::integer) AS taken

-- name: try_lock_reconciliation
-- Takes the lock of what compares a campaign with Label Studio, if nobody has it: an older listing must not come last.
SELECT pg_try_advisory_lock(1735, %(campaign)s::integer) AS taken

-- name: try_lock_links
-- Takes the lock of what writes a campaign's links into Label Studio's texts, if nobody has it.
SELECT pg_try_advisory_lock(1733, %(campaign)s::integer) AS taken

-- name: encoder_is_free
-- Takes the same lock until the transaction ends, if nobody has it.
SELECT pg_try_advisory_xact_lock(1730, %(campaign)s::integer) AS taken

-- name: put_inbox
-- Keeps a webhook as it came, if its project has a campaign, and asks a worker to look at the inbox unless one was asked.
WITH kept AS (
    INSERT INTO inbox (project_id, action, body)
    SELECT project_id, %(action)s::text, %(body)s FROM campaign WHERE project_id = %(project)s
    RETURNING id
),
asked AS (
    -- as Procrastinate defers a job, whose triggers tell the workers
    INSERT INTO procrastinate_jobs (queue_name, task_name, priority, lock, queueing_lock, args)
    SELECT %(queue)s, %(task)s, %(priority)s, %(lock)s, %(queueing_lock)s, '{}' FROM kept
    WHERE %(action)s::text <> 'START_TRAINING'  -- which has a job of its own
    ON CONFLICT (queueing_lock) WHERE status = 'todo' DO NOTHING
)
SELECT id FROM kept

-- name: take_inbox
-- Takes waiting webhooks, oldest first, that no other worker has; as text, so that one too odd to parse fails alone.
SELECT id, project_id, body::text AS body FROM inbox
WHERE processed_at IS NULL ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: finish_inbox
-- Notes that a webhook was taken in, or why it could not be.
UPDATE inbox SET processed_at = now(), error = %(error)s WHERE id = %(id)s

-- name: retry_inbox
-- Lets a project's unreadable webhooks wait again.
UPDATE inbox SET processed_at = NULL, error = NULL WHERE project_id = %(project)s AND error IS NOT NULL

-- name: failed_inbox
-- Lists a project's unreadable webhooks of annotations, which reconciliation makes good.
SELECT id FROM inbox WHERE project_id = %(project)s AND error IS NOT NULL AND action LIKE 'ANNOTATION%%'

-- name: settle_inbox
-- Forgets why webhooks could not be read, once reconciliation has read what they told of.
UPDATE inbox SET error = NULL WHERE id = ANY(%(ids)s)

-- name: forget_inbox
-- Deletes webhooks taken in a week ago; unreadable ones stay.
DELETE FROM inbox WHERE processed_at < now() - interval '7 days' AND error IS NULL

-- name: inbox_state
-- Counts a project's webhooks that wait, and those that could not be read.
SELECT
    count(*) FILTER (WHERE processed_at IS NULL) AS waiting,
    count(*) FILTER (WHERE error IS NOT NULL) AS failed
FROM inbox WHERE project_id = %(project)s

-- name: lock_set_aside
-- Keeps others from reading labels, to set aside the odd ones, or from taking such back, until the transaction ends.
SELECT pg_advisory_xact_lock(1736, %(campaign)s::integer)

-- name: put_set_aside
-- Sets an annotation aside that cannot be read; one with the same reason keeps its time.
INSERT INTO set_aside (campaign_id, annotation_id, task_id, reason)
VALUES (%(campaign)s, %(annotation)s, %(task)s, %(reason)s)
ON CONFLICT (campaign_id, annotation_id)
DO UPDATE SET task_id = excluded.task_id, reason = excluded.reason, at = now()
WHERE set_aside.reason <> excluded.reason

-- name: clear_set_aside
-- Takes an annotation back in, now that it can be read or is gone.
DELETE FROM set_aside WHERE campaign_id = %(campaign)s AND annotation_id = %(annotation)s

-- name: annotations_aside
-- Lists the annotations of a campaign that are set aside.
SELECT annotation_id, task_id FROM set_aside WHERE campaign_id = %(campaign)s ORDER BY annotation_id

-- name: all_set_aside
-- Lists all that is set aside, annotations and webhooks, for the campaign's status.
SELECT annotation_id AS annotation, task_id AS task, NULL::bigint AS webhook, reason, at
FROM set_aside WHERE campaign_id = %(campaign)s
UNION ALL
SELECT NULL, NULL, id, error, processed_at FROM inbox WHERE project_id = %(project)s AND error IS NOT NULL
ORDER BY at, annotation, webhook

-- name: put_annotation_event
-- Appends a state of an annotation; nothing is returned if that state is known.
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
-- Notes that a state was given on the search page, where a webhook told of it first.
UPDATE label_event SET source = 'explore'
WHERE campaign_id = %(campaign)s AND annotation_id = %(annotation)s AND action <> 'deleted'
    AND happened_at = %(happened_at)s

-- name: put_deletion
-- Appends that an annotation is gone; nothing is returned if that is known.
INSERT INTO label_event (campaign_id, action, annotation_id, source, happened_at)
VALUES (%(campaign)s, 'deleted', %(annotation)s, %(source)s, now())
ON CONFLICT DO NOTHING
RETURNING id

-- name: put_snapshot_label
-- Appends a starting label.
INSERT INTO label_event (campaign_id, action, stamp_set, stamp_id, label, source, happened_at)
VALUES (%(campaign)s, 'imported', %(stamp_set)s, %(stamp_id)s, %(label)s, 'snapshot', now())

-- name: put_starting_votes
-- Appends what several people voted before the campaign, with the answer that most of them gave to its first question.
INSERT INTO label_event (campaign_id, action, stamp_set, stamp_id, label, result, source, happened_at)
VALUES (%(campaign)s, 'imported', %(stamp_set)s, %(stamp_id)s, %(label)s, %(votes)s, 'snapshot', now())

-- name: several_answered
-- Tells whether anybody answered several questions of one task.
SELECT EXISTS (
    SELECT FROM counted_annotation
    WHERE campaign_id = %(campaign)s AND action = 'labelled' AND result @? '$[1]'
        AND (
            SELECT count(DISTINCT region ->> 'from_name') FROM jsonb_path_query(result, '$[*]') AS region
            WHERE region ->> 'type' IN ('choices', 'taxonomy')
        ) > 1
) AS several

-- name: vote_results
-- Gives each person's newest answers about each stamp, in order of time, as text as in `take_inbox`, and votes before.
WITH shown AS (
    SELECT stamp_set, stamp_id, bool_or(audit) AS blind, bool_or(audit AND NOT deleted) AS audited
    FROM task WHERE campaign_id = %(campaign)s
    GROUP BY stamp_set, stamp_id
),
given AS (
    SELECT id, stamp_set, stamp_id, annotation_id, task_id, annotator, result, happened_at FROM (
        SELECT DISTINCT ON (stamp_set, stamp_id, coalesce(annotator, -annotation_id))
            id, stamp_set, stamp_id, annotation_id, task_id, annotator, result, happened_at
        FROM counted_annotation
        WHERE campaign_id = %(campaign)s AND action = 'labelled' AND stamp_set IS NOT NULL
        ORDER BY stamp_set, stamp_id, coalesce(annotator, -annotation_id), happened_at DESC, id DESC
    ) AS newest
    UNION ALL
    SELECT id, stamp_set, stamp_id, NULL, NULL, NULL, result, happened_at FROM label_event
    WHERE campaign_id = %(campaign)s AND action = 'imported' AND stamp_set IS NOT NULL AND result IS NOT NULL
)
SELECT
    given.id, given.stamp_set, given.stamp_id, given.annotation_id, given.task_id, given.annotator,
    given.result::text AS result,
    coalesce(shown.blind, false) AS blind, coalesce(shown.audited, false) AS audited
FROM given LEFT JOIN shown USING (stamp_set, stamp_id)
ORDER BY given.stamp_set, given.stamp_id, given.happened_at, given.id

-- name: put_label
-- Appends a label of the search page, or that it was taken back.
INSERT INTO label_event (
    campaign_id, action, stamp_set, stamp_id, label, annotator, person, source, happened_at
)
VALUES (
    %(campaign)s, %(action)s, %(stamp_set)s, %(stamp_id)s, %(label)s, %(annotator)s, %(person)s, 'explore', now()
)
RETURNING id

-- name: last_event
-- Gives the newest label event: what a version or a selection has seen.
SELECT coalesce(max(id), 0) AS id FROM label_event WHERE campaign_id = %(campaign)s

-- name: known_annotations
-- Lists the annotations that exist, with their tasks, to compare with Label Studio.
SELECT annotation_id, task_id FROM current_annotation WHERE campaign_id = %(campaign)s

-- name: annotation_counts
-- Counts a campaign's annotations for its status.
SELECT
    count(*) FILTER (WHERE action = 'labelled') AS labelled,
    count(*) FILTER (WHERE action = 'skipped') AS skipped,
    count(DISTINCT annotator) AS annotators,
    count(*) FILTER (WHERE stamp_set IS NULL) AS without_stamp
FROM current_annotation WHERE campaign_id = %(campaign)s

-- name: votes
-- Lists the labels that count, and whether a task of the audit slice shows their stamp.
-- Of an annotation that is set aside neither this state counts nor an earlier one.
WITH shown AS (
    SELECT stamp_set, stamp_id, bool_or(audit) AS blind, bool_or(audit AND NOT deleted) AS audited
    FROM task WHERE campaign_id = %(campaign)s
    GROUP BY stamp_set, stamp_id
)
SELECT
    vote.id, vote.stamp_set, vote.stamp_id, vote.label, vote.annotator, vote.person, vote.given, vote.happened_at,
    coalesce(shown.blind, false) AS blind, coalesce(shown.audited, false) AS audited
FROM vote
LEFT JOIN shown USING (stamp_set, stamp_id)
WHERE vote.campaign_id = %(campaign)s
    AND NOT EXISTS (
        SELECT FROM set_aside AS aside
        JOIN label_event AS event USING (campaign_id, annotation_id)
        WHERE aside.campaign_id = %(campaign)s AND event.id = vote.id
    )
ORDER BY vote.stamp_set, vote.stamp_id, vote.happened_at, vote.id

-- name: votes_of
-- Gives the label events of these numbers as `votes` gave them once, with what their classes were called then.
-- Where it is asked for, also what they state, as text as in `take_inbox`.
WITH event AS (
    SELECT id, action, task_id, annotation_id, stamp_set, stamp_id, label, annotator, person, result, happened_at
    FROM label_event WHERE campaign_id = %(campaign)s AND id = ANY(%(given)s::bigint[])
    UNION ALL
    SELECT id, action, task_id, annotation_id, stamp_set, stamp_id, label, annotator, person, result, happened_at
    FROM refuted_event WHERE campaign_id = %(campaign)s AND id = ANY(%(given)s::bigint[])
),
placed AS (
    SELECT
        event.id, event.label, event.annotator, event.person, event.happened_at,
        CASE WHEN %(stated)s THEN event.result::text END AS result,
        CASE WHEN event.annotation_id IS NULL THEN event.stamp_set ELSE task.stamp_set END AS stamp_set,
        CASE WHEN event.annotation_id IS NULL THEN event.stamp_id ELSE task.stamp_id END AS stamp_id,
        CASE
            WHEN event.annotation_id IS NOT NULL THEN 'annotation'
            WHEN event.action = 'imported' THEN 'start'
            ELSE 'mark'
        END AS given
    FROM event
    LEFT JOIN task ON task.campaign_id = %(campaign)s AND task.task_id = event.task_id
)
SELECT
    id, stamp_set, stamp_id,
    CASE WHEN given = 'mark' THEN label ELSE coalesce(%(renamed)s::jsonb ->> label, label) END AS label,
    annotator, CASE WHEN given = 'mark' THEN person END AS person, given, happened_at, result,
    id = ANY(%(blind)s::bigint[]) AS blind, id = ANY(%(blind)s::bigint[]) AS audited
FROM placed
WHERE stamp_set IS NOT NULL
ORDER BY stamp_set, stamp_id, happened_at, id

-- name: versions_shown
-- Names the version that had ranked a stamp when somebody labelled it; none where it was shown blind, or ranked by none.
SELECT DISTINCT ON (given.id) given.id, CASE WHEN NOT selected.audit THEN selection.version END AS version
FROM unnest(
    %(ids)s::bigint[], %(stamp_sets)s::text[], %(stamp_ids)s::bigint[], %(times)s::timestamptz[]
) AS given (id, stamp_set, stamp_id, at)
JOIN selected ON selected.stamp_set = given.stamp_set AND selected.stamp_id = given.stamp_id
JOIN selection
    ON selection.id = selected.selection_id
    AND selection.campaign_id = %(campaign)s
    AND selection.source IN ('push', 'round')
    AND selection.served_at <= given.at
ORDER BY given.id, selection.id DESC

-- name: annotator_numbers
-- Numbers everybody who ever answered in a campaign, in the order of their first answers.
SELECT
    annotator, CASE WHEN annotator IS NULL THEN person END AS person, row_number() OVER (ORDER BY min(id)) AS number
FROM (
    SELECT id, annotator, person FROM label_event WHERE campaign_id = %(campaign)s
    UNION ALL
    SELECT id, annotator, person FROM refuted_event WHERE campaign_id = %(campaign)s
) AS event
WHERE annotator IS NOT NULL OR person IS NOT NULL
GROUP BY annotator, CASE WHEN annotator IS NULL THEN person END

-- name: object_labels
-- Gives the newest annotation of each stamp: objects have no consensus. As text, as in `take_inbox`.
SELECT DISTINCT ON (annotation.stamp_set, annotation.stamp_id)
    annotation.id, annotation.stamp_set, annotation.stamp_id, annotation.annotation_id, annotation.task_id,
    annotation.annotator, annotation.label, annotation.result::text AS result, task.audit
FROM counted_annotation AS annotation
JOIN task ON task.campaign_id = annotation.campaign_id AND task.task_id = annotation.task_id
WHERE annotation.campaign_id = %(campaign)s AND annotation.action = 'labelled'
ORDER BY annotation.stamp_set, annotation.stamp_id, annotation.happened_at DESC, annotation.id DESC

-- name: labelled_since
-- Counts the stamps that were labelled after an event, for learning that waits for some.
SELECT count(DISTINCT (task.stamp_set, task.stamp_id)) AS stamps
FROM label_event AS event
JOIN task ON task.campaign_id = event.campaign_id AND task.task_id = event.task_id
WHERE event.campaign_id = %(campaign)s AND event.id > %(event)s

-- name: own_labels
-- Lists what one person said in a search, newest first, and whether it was said on the page.
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
-- Lists the newest label events of a search with who they are by, for its history.
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
LEFT JOIN annotator_name AS known ON known.annotator = coalesce(event.annotator, earlier.annotator)
WHERE event.campaign_id = %(campaign)s AND event.action <> 'skipped'
ORDER BY event.id DESC
LIMIT %(limit)s

-- name: catalogue_tasks
-- Lists the stamps that are or were tasks of a campaign: whether of the audit slice, and whether all of them are deleted.
SELECT stamp_set, stamp_id, bool_or(audit AND NOT deleted) AS audit, bool_and(deleted) AS deleted
FROM task WHERE campaign_id = %(campaign)s
GROUP BY stamp_set, stamp_id

-- name: catalogue_annotations
-- Counts what people did with each stamp in Label Studio: annotations, skips, and those that cannot be read.
SELECT stamp_set, stamp_id, sum(labelled)::integer AS labelled, sum(skipped)::integer AS skipped,
    sum(aside)::integer AS aside
FROM (
    SELECT stamp_set, stamp_id, (action = 'labelled')::integer AS labelled, (action = 'skipped')::integer AS skipped,
        0 AS aside
    FROM current_annotation WHERE campaign_id = %(campaign)s AND stamp_set IS NOT NULL
    UNION ALL
    SELECT task.stamp_set, task.stamp_id, 0, 0, 1
    FROM set_aside JOIN task USING (campaign_id, task_id)
    WHERE campaign_id = %(campaign)s AND NOT task.deleted
) AS done
GROUP BY stamp_set, stamp_id

-- name: catalogue_selected
-- Tells how each stamp came to be shown: by the newest selection before its first label, or by the newest of all.
WITH given AS (
    SELECT stamp_set, stamp_id, min(happened_at) AS first FROM vote
    WHERE campaign_id = %(campaign)s AND given <> 'start'
    GROUP BY stamp_set, stamp_id
)
SELECT DISTINCT ON (selected.stamp_set, selected.stamp_id)
    selected.stamp_set, selected.stamp_id, selection.source, selected.propensity,
    CASE WHEN selected.audit THEN 'audit slice' ELSE selection.policy END AS policy
FROM selected
JOIN selection ON selection.id = selected.selection_id
LEFT JOIN given ON given.stamp_set = selected.stamp_set AND given.stamp_id = selected.stamp_id
WHERE selection.campaign_id = %(campaign)s AND selection.served_at IS NOT NULL
ORDER BY
    selected.stamp_set, selected.stamp_id,
    coalesce(selection.served_at <= given.first, true) DESC, selection.id DESC

-- name: put_version
-- Stores a model version; one that is known stays as it is.
INSERT INTO model_version (
    campaign_id, version, parent, weights, detector, encoder, seed, last_event, labels, audit_labels, metrics, revision
)
VALUES (
    %(campaign)s, %(version)s, %(parent)s, %(weights)s, %(detector)s, %(encoder)s, %(seed)s, %(last_event)s, %(labels)s,
    %(audit_labels)s, %(metrics)s, %(revision)s
)
ON CONFLICT DO NOTHING

-- name: put_learned_from
-- Notes what a version was fitted on; what is known stays as it is.
INSERT INTO learned_from (campaign_id, version, given, blind, labels, recipe)
VALUES (%(campaign)s, %(version)s, %(given)s, %(blind)s, %(labels)s, %(recipe)s)
ON CONFLICT DO NOTHING

-- name: learned_from
-- Tells what a version was fitted on.
SELECT given, blind, labels, recipe FROM learned_from WHERE campaign_id = %(campaign)s AND version = %(version)s

-- name: version_of
-- Gives a version with its weights.
SELECT * FROM model_version WHERE campaign_id = %(campaign)s AND version = %(version)s

-- name: campaigns_of_version
-- Names the campaigns that have a version of that name, oldest first.
SELECT campaign.name FROM model_version JOIN campaign ON campaign.id = model_version.campaign_id
WHERE model_version.version = %(version)s ORDER BY campaign.id

-- name: promote
-- Makes a version the one that serves.
INSERT INTO promotion (campaign_id, version, reason) VALUES (%(campaign)s, %(version)s, %(reason)s)

-- name: serve_encoder
-- Gives a campaign the encoder of the version that serves.
UPDATE campaign SET encoder = version.encoder
FROM model_version AS version
WHERE campaign.id = %(campaign)s
    AND version.campaign_id = campaign.id
    AND version.version = %(version)s
    AND campaign.encoder <> version.encoder

-- name: lock_campaign
-- Keeps others from promoting a version of a campaign until the transaction ends.
SELECT id FROM campaign WHERE id = %(campaign)s FOR UPDATE

-- name: base_encoder
-- Gives the encoder that a campaign's own was trained from; its own where it was not trained here.
SELECT coalesce(
    (
        SELECT training.base FROM encoder_training AS training
        WHERE training.campaign_id = campaign.id AND training.encoder = campaign.encoder
        ORDER BY training.id DESC LIMIT 1
    ),
    campaign.encoder
) AS base
FROM campaign WHERE id = %(campaign)s

-- name: put_encoder_training
-- Notes that the training of an encoder begins; one that was killed and begins again is there already.
INSERT INTO encoder_training (campaign_id, base, labels)
SELECT %(campaign)s, %(base)s, %(labels)s
WHERE NOT EXISTS (
    SELECT FROM encoder_training
    WHERE campaign_id = %(campaign)s AND base = %(base)s AND labels = %(labels)s AND encoder IS NULL
)

-- name: encoder_trained
-- Notes which encoder came of the newest training.
UPDATE encoder_training SET encoder = %(encoder)s
WHERE id = (
    SELECT max(id) FROM encoder_training
    WHERE campaign_id = %(campaign)s AND base = %(base)s AND labels = %(labels)s
)

-- name: encoder_trainings
-- Lists the trainings of a campaign's encoder, oldest first.
SELECT base, labels, encoder, started_at FROM encoder_training WHERE campaign_id = %(campaign)s ORDER BY id

-- name: needed_encoders
-- Names the encoders that campaigns read features of, or will start their next training from.
SELECT encoder FROM campaign
UNION
SELECT base FROM encoder_training

-- name: last_encoder_run
-- Gives the newest run that ended with another encoder, or might have.
SELECT version, outcome, last_event, seconds, finished_at FROM learning_run
WHERE campaign_id = %(campaign)s AND job = 'encoder' AND outcome IS NOT NULL ORDER BY id DESC LIMIT 1

-- name: put_failed_training
-- Notes a training of an encoder that broke off: it learned from nothing, and its experiment has ended.
WITH ended AS (
    UPDATE experiment
    SET outcome = 'failed', ended_at = now(), note = 'What came after it broke off; a notice says why.'
    WHERE campaign_id = %(campaign)s AND outcome IS NULL
)
INSERT INTO learning_run (campaign_id, job, outcome, last_event, seconds, finished_at)
VALUES (%(campaign)s, 'encoder', 'failed', 0, 0, now())

-- name: try_lock_pipeline
-- Takes the lock of a pipeline repository, if nobody has it: one experiment at a time, whoever's.
SELECT pg_try_advisory_lock(1732, hashtext(%(folder)s)) AS taken

-- name: begin_experiment
-- Notes that an experiment begins, or begins again; a campaign has one at a time, so another one was given up.
WITH former AS (
    UPDATE experiment
    SET outcome = 'failed', ended_at = now(), note = 'It was broken off, and another began.'
    WHERE campaign_id = %(campaign)s AND outcome IS NULL AND NOT (name = %(name)s AND baseline = %(baseline)s)
)
INSERT INTO experiment (campaign_id, name, repository, baseline, labels_file, labels)
VALUES (%(campaign)s, %(name)s, %(repository)s, %(baseline)s, %(labels_file)s, %(labels)s)
ON CONFLICT (campaign_id, name, baseline) DO UPDATE
SET begun_at = now(), ended_at = NULL, outcome = NULL, version = NULL, note = NULL
RETURNING id

-- name: experiment_made
-- Notes what an experiment made.
UPDATE experiment SET revision = %(revision)s, encoder = %(encoder)s, metrics = %(metrics)s WHERE id = %(experiment)s

-- name: end_experiment
-- Notes what came of an experiment.
UPDATE experiment
SET outcome = %(outcome)s, version = %(version)s, branch = %(branch)s, note = %(note)s, ended_at = now()
WHERE id = %(experiment)s

-- name: experiment_of_encoder
-- Finds the newest experiment that made an encoder.
SELECT id, name, revision FROM experiment
WHERE campaign_id = %(campaign)s AND encoder = %(encoder)s ORDER BY begun_at DESC LIMIT 1

-- name: experiments
-- Lists the experiments of a campaign, newest first.
SELECT
    name, repository, baseline, labels_file, labels, revision, encoder, metrics, outcome, version, branch, note,
    begun_at, ended_at
FROM experiment WHERE campaign_id = %(campaign)s ORDER BY begun_at DESC LIMIT %(limit)s

-- name: announce
-- Tells every process, at commit, that a campaign has changed.
SELECT pg_notify('galaxyloop_campaign', %(campaign)s::text)

-- name: active_version
-- Gives the version that serves.
SELECT version.* FROM promotion
JOIN model_version AS version USING (campaign_id, version)
WHERE promotion.campaign_id = %(campaign)s
ORDER BY promotion.id DESC LIMIT 1

-- name: first_version
-- Gives the version a campaign began with.
SELECT * FROM model_version WHERE campaign_id = %(campaign)s AND parent IS NULL ORDER BY created_at LIMIT 1

-- name: promotions
-- Lists what served when, newest first, to roll back by.
SELECT version, reason, promoted_at FROM promotion WHERE campaign_id = %(campaign)s ORDER BY id DESC

-- name: promotions_of
-- Lists when a version began to serve, why, and who wanted that, oldest first.
SELECT promotion.reason, promotion.promoted_at, change.person
FROM promotion
LEFT JOIN change
    ON change.campaign_id = promotion.campaign_id
    AND change.at = promotion.promoted_at
    AND change.what IN ('promoted', 'rolled back')
WHERE promotion.campaign_id = %(campaign)s AND promotion.version = %(version)s
ORDER BY promotion.id

-- name: versions
-- Lists a campaign's versions, oldest first, without their weights.
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

-- name: all_versions
-- Names the versions of every campaign, newest first.
SELECT version FROM model_version ORDER BY created_at DESC, version

-- name: begin_run
-- Begins a run of learning.
INSERT INTO learning_run (campaign_id, job) VALUES (%(campaign)s, %(job)s) RETURNING id

-- name: report_run
-- Notes how far a run has come.
UPDATE learning_run SET phase = %(phase)s, done = %(done)s, total = %(total)s, updated_at = now() WHERE id = %(run)s

-- name: finish_run
-- Notes what came of a run.
UPDATE learning_run
SET version = %(version)s, outcome = %(outcome)s, last_event = %(last_event)s, seconds = %(seconds)s,
    updated_at = now(), finished_at = now()
WHERE id = %(run)s

-- name: forget_runs
-- Deletes a run that came to nothing, and older ones that no process reported of for an hour: they were killed.
DELETE FROM learning_run
WHERE campaign_id = %(campaign)s AND outcome IS NULL
    AND (id = %(run)s OR (id < %(run)s AND updated_at < now() - interval '1 hour'))

-- name: last_run
-- Gives the newest run of learning that finished, whatever came of another encoder meanwhile.
SELECT version, outcome, last_event, seconds, finished_at FROM learning_run
WHERE campaign_id = %(campaign)s AND job = 'learn' AND outcome IS NOT NULL ORDER BY id DESC LIMIT 1

-- name: present_run
-- Gives the run of a job that goes on: the newest one, while it has come to nothing.
SELECT phase, done, total, started_at, updated_at FROM learning_run AS run
WHERE campaign_id = %(campaign)s AND job = %(job)s AND outcome IS NULL AND updated_at > now() - interval '1 hour'
    AND id = (
        SELECT max(id) FROM learning_run AS newest
        WHERE newest.campaign_id = run.campaign_id AND newest.job = run.job
    )

-- name: present_drawing
-- Tells how far the simulated galaxies of an encoder are drawn, whichever campaign asked for them.
SELECT run.done, run.total FROM learning_run AS run
JOIN campaign ON campaign.id = run.campaign_id
WHERE campaign.encoder = %(encoder)s AND run.phase = 'drawing' AND run.outcome IS NULL
    AND run.updated_at > now() - interval '5 minutes'
ORDER BY run.updated_at DESC LIMIT 1

-- name: put_selection
-- Logs what chose some stamps, and from what.
INSERT INTO selection (
    campaign_id, source, policy, seed, batch, candidates, last_event, version, person, annotator, served_at
)
VALUES (
    %(campaign)s, %(source)s, %(policy)s, %(seed)s, %(batch)s, %(candidates)s, %(last_event)s, %(version)s, %(person)s,
    %(annotator)s, CASE WHEN %(served)s THEN now() END
)
RETURNING id, made_at, served_at

-- name: put_selected
-- Logs a stamp that was chosen, and how likely that was.
INSERT INTO selected (
    selection_id, rank, stamp_set, stamp_id, task_id, priority, worth, propensity, probability, similarity, audit
)
VALUES (
    %(selection)s, %(rank)s, %(stamp_set)s, %(stamp_id)s, %(task_id)s, %(priority)s, %(worth)s, %(propensity)s,
    %(probability)s, %(similarity)s, %(audit)s
)

-- name: selection_served
-- Notes that a selection is shown from now on.
UPDATE selection SET served_at = now() WHERE id = %(selection)s

-- name: selections
-- Lists what one source chose and showed, newest first; of one person, if one is named.
SELECT
    id, source, policy, seed, batch, candidates, last_event, version, person, annotator, made_at, served_at
FROM selection
WHERE campaign_id = %(campaign)s
    AND source = %(source)s
    AND served_at IS NOT NULL
    AND (%(person)s::text IS NULL OR person = %(person)s)
ORDER BY id DESC
LIMIT %(limit)s

-- name: selection_count
-- Counts what one source chose; the next round is drawn and numbered by it.
SELECT count(*) AS selections FROM selection WHERE campaign_id = %(campaign)s AND source = %(source)s

-- name: selected
-- Lists the stamps of a selection, in order.
SELECT
    stamp_set, stamp_id, task_id, priority, worth, propensity, probability, similarity, audit
FROM selected WHERE selection_id = %(selection)s ORDER BY rank

-- name: shown_stamps
-- Lists the stamps of a search's own set that its rounds showed.
SELECT DISTINCT selected.stamp_id
FROM selected
JOIN selection ON selection.id = selected.selection_id
JOIN campaign ON campaign.id = selection.campaign_id AND campaign.stamp_set = selected.stamp_set
WHERE selection.campaign_id = %(campaign)s AND selection.source = 'round'

-- name: place_of_stamp
-- Finds where a stamp was shown last: in a push, or, if none held it, in a round.
SELECT
    selection.version, selection.policy, selection.candidates AS ranked, selection.served_at,
    selected.rank, selected.priority, selected.propensity, selected.audit,
    CASE WHEN selection.source = 'round' THEN (
        SELECT count(*) FROM selection AS earlier
        WHERE earlier.campaign_id = selection.campaign_id AND earlier.source = 'round' AND earlier.id <= selection.id
    ) END AS round,
    selection.source = 'round' OR NOT EXISTS (
        SELECT FROM selection AS later
        WHERE later.campaign_id = selection.campaign_id
            AND later.source = 'push'
            AND later.served_at IS NOT NULL
            AND later.id > selection.id
    ) AS latest
FROM selected
JOIN selection ON selection.id = selected.selection_id
WHERE selection.campaign_id = %(campaign)s
    AND selection.source IN ('push', 'round')
    AND selection.served_at IS NOT NULL
    AND selected.stamp_set = %(stamp_set)s
    AND selected.stamp_id = %(stamp_id)s
ORDER BY selection.source = 'push' DESC, selection.id DESC LIMIT 1

-- name: before_others
-- Lists the stamps that others have before them in a search, so that two people see different ones.
SELECT selected.stamp_id
FROM selected
JOIN (
    SELECT DISTINCT ON (person) id FROM selection
    WHERE campaign_id = %(campaign)s
        AND source = 'round'
        AND person <> %(person)s
        AND made_at > now() - interval '10 minutes'
    ORDER BY person, id DESC
) AS latest ON latest.id = selected.selection_id

-- name: rounds
-- Lists a search's rounds with the labels given in them; a label belongs to the newest round that showed its stamp before.
WITH answered AS (
    SELECT DISTINCT ON (vote.stamp_set, vote.stamp_id, vote.person, vote.annotator) round.id AS round_id, vote.label
    FROM vote
    JOIN selected USING (stamp_set, stamp_id)
    JOIN selection AS round
        ON round.id = selected.selection_id
        AND round.source = 'round'
        AND round.campaign_id = vote.campaign_id
        AND round.made_at <= vote.happened_at
        AND (round.person = vote.person OR round.annotator = vote.annotator)
    WHERE vote.campaign_id = %(campaign)s
    ORDER BY vote.stamp_set, vote.stamp_id, vote.person, vote.annotator, round.id DESC
)
SELECT
    round.id, round.person, round.policy, round.seed, round.made_at,
    (SELECT count(*) FROM selected WHERE selected.selection_id = round.id) AS shown,
    count(answered.label) FILTER (WHERE answered.label = %(yes)s) AS yes,
    count(answered.label) FILTER (WHERE answered.label = %(no)s) AS no,
    count(answered.label) FILTER (WHERE answered.label = %(unsure)s) AS unsure
FROM selection AS round
LEFT JOIN answered ON answered.round_id = round.id
WHERE round.campaign_id = %(campaign)s AND round.source = 'round'
GROUP BY round.id
ORDER BY round.id

-- name: annotator_names
-- Gives names to the annotators of a campaign, as far as the search page knows them.
SELECT annotator, person FROM annotator_name
WHERE annotator IN (SELECT annotator FROM label_event WHERE campaign_id = %(campaign)s)

-- name: put_example
-- Keeps a picture of what a search looks for.
INSERT INTO search_example (campaign_id, name, person, features)
VALUES (%(campaign)s, %(name)s, %(person)s, %(features)s)
RETURNING id

-- name: examples
-- Lists a search's pictures.
SELECT id, name, person, features FROM search_example WHERE campaign_id = %(campaign)s ORDER BY id

-- name: delete_example
-- Takes a picture back, if it is that person's.
DELETE FROM search_example WHERE campaign_id = %(campaign)s AND id = %(id)s AND person = %(person)s RETURNING id

-- name: put_session
-- Begins a session of so many seconds, and forgets those that have ended.
WITH ended AS (
    DELETE FROM session WHERE ends_at <= now()
)
INSERT INTO session (id, person, annotator, token, ends_at)
VALUES (%(id)s, %(person)s, %(annotator)s, %(token)s, now() + make_interval(secs => %(seconds)s::double precision))

-- name: session
-- Gives the session of an id, if it has not ended.
SELECT person, annotator, token FROM session WHERE id = %(id)s AND ends_at > now()

-- name: end_session
-- Ends a session.
DELETE FROM session WHERE id = %(id)s

-- name: sessions
-- Lists the sessions that have not ended, oldest first.
SELECT person, begun_at, ends_at FROM session WHERE ends_at > now() ORDER BY begun_at, person

-- name: end_sessions
-- Ends the sessions of a person, or, if none is named, all.
DELETE FROM session WHERE %(person)s::text IS NULL OR person = %(person)s RETURNING person

-- name: hold_name
-- Gives a name to a device that took it first, or has it already; nothing is returned if another device has it.
INSERT INTO held_name (name, device) VALUES (%(name)s, %(device)s)
ON CONFLICT (name) DO UPDATE SET device = excluded.device WHERE held_name.device = excluded.device
RETURNING name

-- name: held_names
-- Lists the names that are held, and since when.
SELECT name, taken_at FROM held_name ORDER BY name

-- name: free_name
-- Lets another device take a name.
DELETE FROM held_name WHERE name = %(name)s RETURNING name

-- name: put_told_deleted
-- Keeps what a webhook says was deleted until Label Studio confirms it.
INSERT INTO told_deleted (campaign_id, what, id) VALUES (%(campaign)s, %(what)s, %(id)s)
ON CONFLICT (campaign_id, what, id) DO UPDATE SET told_at = excluded.told_at

-- name: told_now
-- Names the campaigns that were told of deletions in this transaction.
SELECT DISTINCT campaign_id FROM told_deleted WHERE told_at = now()

-- name: told_deleted
-- Lists what a campaign was told to be deleted, and the task of an annotation that it knows.
SELECT
    what, id,
    CASE WHEN what = 'annotation' THEN coalesce(
        (
            SELECT min(event.task_id)::bigint FROM label_event AS event
            WHERE event.campaign_id = told_deleted.campaign_id AND event.annotation_id = told_deleted.id
        ),
        (
            SELECT aside.task_id FROM set_aside AS aside
            WHERE aside.campaign_id = told_deleted.campaign_id AND aside.annotation_id = told_deleted.id
        )
    ) END AS task
FROM told_deleted WHERE campaign_id = %(campaign)s ORDER BY what, id

-- name: settle_told_deleted
-- Forgets deletions that were confirmed, and, two minutes after they were told, those that were not.
DELETE FROM told_deleted
WHERE campaign_id = %(campaign)s
    AND (
        (what = 'annotation' AND id = ANY(%(annotations)s::integer[]))
        OR (what = 'task' AND id = ANY(%(tasks)s::integer[]))
        OR (told_at < now() - interval '2 minutes' AND told_at <= %(asked)s)
    )
RETURNING what, id

-- name: told_states
-- Lists the states of annotations that webhooks told of since a time, for comparison with Label Studio's own.
SELECT id, annotation_id, task_id, happened_at FROM label_event
WHERE campaign_id = %(campaign)s
    AND source = 'webhook'
    AND action IN ('labelled', 'skipped')
    AND (%(since)s::timestamptz IS NULL OR recorded_at > %(since)s)
ORDER BY id

-- name: refute_events
-- Takes back label events that nobody's act stands behind; a version may have learned them, so they are kept apart.
WITH refuted AS (
    DELETE FROM label_event WHERE campaign_id = %(campaign)s AND id = ANY(%(ids)s) RETURNING *
)
INSERT INTO refuted_event (
    id, campaign_id, action, task_id, annotation_id, stamp_set, stamp_id, label, annotator, person, result,
    parent_prediction, lead_time, source, happened_at, recorded_at
)
SELECT
    id, campaign_id, action, task_id, annotation_id, stamp_set, stamp_id, label, annotator, person, result,
    parent_prediction, lead_time, source, happened_at, recorded_at
FROM refuted

-- name: deletions_of
-- Finds the deletions of some annotations among the events up to one.
SELECT id FROM label_event
WHERE campaign_id = %(campaign)s AND action = 'deleted' AND annotation_id = ANY(%(annotations)s) AND id <= %(last)s

-- name: answers
-- Lists what people did, oldest first: labels and skips; `kept` says whether what was filled in stayed as it was.
-- It is NULL of the audit slice, where nothing is filled in.
SELECT
    done.annotator, NULL::text AS person, done.action = 'skipped' AS skipped, done.happened_at, done.lead_time,
    -- Label Studio's page names the origin of each region; what came over its API may name none
    CASE WHEN
        done.parent_prediction IS NOT NULL AND done.action = 'labelled' AND jsonb_typeof(done.result) = 'array'
        AND NOT coalesce(task.audit, false)
    THEN (
        SELECT bool_and(region ->> 'origin' = 'prediction') FROM jsonb_array_elements(done.result) AS region
    ) END AS kept
FROM current_annotation AS done
LEFT JOIN task ON task.campaign_id = done.campaign_id AND task.task_id = done.task_id
WHERE done.campaign_id = %(campaign)s
UNION ALL
SELECT annotator, person, false, happened_at, NULL, NULL
FROM vote WHERE campaign_id = %(campaign)s AND given = 'mark'
ORDER BY happened_at

-- name: runs
-- Lists the runs of learning that ended, newest first.
SELECT job, version, outcome, seconds, finished_at FROM learning_run
WHERE campaign_id = %(campaign)s AND outcome IS NOT NULL ORDER BY id DESC LIMIT %(limit)s

-- name: take_failed_learning
-- Takes away a campaign's jobs of learning that were given up an hour ago, or a day where a fit takes long, to ask again.
DELETE FROM procrastinate_jobs AS job
WHERE job.task_name = 'campaign:learn'
    AND job.status = 'failed'
    AND job.args ->> 'campaign_id' = %(campaign)s::integer::text
    AND NOT EXISTS (
        SELECT FROM procrastinate_events AS event
        WHERE event.job_id = job.id
            AND event.at > now() - make_interval(hours => CASE job.queue_name WHEN 'gpu' THEN 24 ELSE 1 END)
    )
RETURNING (job.args ->> 'asked')::boolean AS asked

-- name: keep_job
-- Keeps a job that a worker has taken until its campaign is resumed; nothing is returned if it is not paused any more.
INSERT INTO kept_job (campaign_id, queue, task, priority, lock, queueing_lock, args)
SELECT paused.id, job.queue_name, job.task_name, job.priority, job.lock, job.queueing_lock, job.args
FROM procrastinate_jobs AS job, (
    -- whoever resumes it meanwhile waits, and finds the job
    SELECT id FROM campaign WHERE id = %(campaign)s AND state = 'paused' FOR SHARE
) AS paused
WHERE job.id = %(job)s
RETURNING id

-- name: ask_for_kept_jobs
-- Asks for a campaign's kept jobs again, unless their twins wait.
WITH kept AS (
    DELETE FROM kept_job WHERE campaign_id = %(campaign)s RETURNING *
)
INSERT INTO procrastinate_jobs (queue_name, task_name, priority, lock, queueing_lock, args)
SELECT queue, task, priority, lock, queueing_lock, args FROM kept ORDER BY id
ON CONFLICT (queueing_lock) WHERE status = 'todo' DO NOTHING

-- name: waiting_job
-- Finds the job that waits under a queueing lock.
SELECT id FROM procrastinate_jobs WHERE queueing_lock = %(queueing_lock)s AND status = 'todo'

-- name: learning_job
-- Tells how a job of learning stands; nothing is returned of one that is done, for such jobs are deleted.
SELECT status::text AS status FROM procrastinate_jobs WHERE id = %(job)s AND task_name = 'campaign:learn'

-- name: jobs
-- Lists a campaign's jobs that wait, go on or failed within a week, newest first.
SELECT job.task_name AS task, job.status::text AS status, job.attempts, job.scheduled_at, newest.at
FROM procrastinate_jobs AS job
LEFT JOIN LATERAL (
    SELECT max(event.at) AS at FROM procrastinate_events AS event WHERE event.job_id = job.id
) AS newest ON true
WHERE job.args ->> 'campaign_id' = %(campaign)s::integer::text
    AND (job.status IN ('todo', 'doing') OR (job.status = 'failed' AND newest.at > now() - interval '7 days'))
ORDER BY job.id DESC LIMIT %(limit)s

-- name: overview
-- Tells how all campaigns stand: tasks and those that wait, labels that people gave and when, the version that serves.
WITH done AS (
    SELECT campaign_id, count(*) AS tasks FROM task WHERE NOT deleted GROUP BY campaign_id
),
waiting AS (
    SELECT campaign_id, count(*) AS tasks, sum(lacking) AS labels FROM waiting_task GROUP BY campaign_id
),
answer AS (
    SELECT campaign_id, happened_at FROM current_annotation WHERE action = 'labelled'
    UNION ALL
    SELECT campaign_id, happened_at FROM vote WHERE given = 'mark'
),
given AS (
    SELECT
        campaign_id, count(*) AS labels, min(happened_at) AS first, max(happened_at) AS latest,
        count(*) FILTER (WHERE age >= interval '0' AND age < interval '1 hour') AS hour,
        count(*) FILTER (WHERE age >= interval '0' AND age < interval '1 day') AS day,
        count(*) FILTER (WHERE age >= interval '0' AND age < interval '7 days') AS week
    FROM (SELECT campaign_id, happened_at, %(now)s::timestamptz - happened_at AS age FROM answer) AS aged
    GROUP BY campaign_id
)
SELECT
    campaign.id AS campaign, coalesce(done.tasks, 0) AS tasks, coalesce(waiting.tasks, 0) AS waiting,
    coalesce(waiting.labels, 0) AS wanted, coalesce(given.labels, 0) AS labels, given.first, given.latest,
    coalesce(given.hour, 0) AS hour, coalesce(given.day, 0) AS day, coalesce(given.week, 0) AS week,
    (
        SELECT promotion.version FROM promotion WHERE promotion.campaign_id = campaign.id
        ORDER BY promotion.id DESC LIMIT 1
    ) AS version,
    ARRAY(SELECT notice.text FROM notice WHERE notice.campaign_id = campaign.id ORDER BY notice.source) AS notices
FROM campaign
LEFT JOIN done ON done.campaign_id = campaign.id
LEFT JOIN waiting ON waiting.campaign_id = campaign.id
LEFT JOIN given ON given.campaign_id = campaign.id

-- name: label_counts
-- Counts the label events of each campaign for its metrics.
SELECT campaign.name AS campaign, event.action, event.source, count(*) AS events
FROM label_event AS event JOIN campaign ON campaign.id = event.campaign_id
GROUP BY campaign.name, event.action, event.source

-- name: inbox_ages
-- Counts each campaign's webhooks that wait, with the oldest one's age in seconds, and those that could not be read.
SELECT
    campaign.name AS campaign, coalesce(waiting.webhooks, 0) AS waiting, coalesce(waiting.oldest, 0) AS oldest,
    coalesce(failed.webhooks, 0) AS failed
FROM campaign
LEFT JOIN (
    SELECT project_id, count(*) AS webhooks, extract(epoch FROM now() - min(received_at)) AS oldest
    FROM inbox WHERE processed_at IS NULL GROUP BY project_id
) AS waiting USING (project_id)
LEFT JOIN (
    SELECT project_id, count(*) AS webhooks FROM inbox WHERE error IS NOT NULL GROUP BY project_id
) AS failed USING (project_id)
WHERE campaign.project_id IS NOT NULL

-- name: served_versions
-- Gives the version that serves each campaign that is not closed, what is known of it, and what the campaign's team should look at.
SELECT
    campaign.name AS campaign, version.version, 1 AS serves, version.labels, version.audit_labels,
    (version.metrics ->> 'audit_accuracy')::double precision AS audit_accuracy,
    CASE WHEN campaign.project_id IS NOT NULL THEN extract(epoch FROM now() - campaign.reconciled_at) END AS reconciled,
    (SELECT count(*) FROM set_aside WHERE set_aside.campaign_id = campaign.id) AS aside,
    (SELECT count(*) FROM notice WHERE notice.campaign_id = campaign.id) AS notices
FROM campaign
JOIN LATERAL (
    SELECT promotion.version FROM promotion WHERE promotion.campaign_id = campaign.id
    ORDER BY promotion.id DESC LIMIT 1
) AS newest ON true
JOIN model_version AS version ON version.campaign_id = campaign.id AND version.version = newest.version
WHERE campaign.state <> 'closed'

-- name: push_ages
-- Counts each campaign's pushes, with the newest one's age in seconds.
SELECT
    campaign.name AS campaign, count(*) AS pushes,
    CASE WHEN campaign.state <> 'closed' THEN extract(epoch FROM now() - max(selection.served_at)) END AS age
FROM selection JOIN campaign ON campaign.id = selection.campaign_id
WHERE selection.source = 'push' AND selection.served_at IS NOT NULL
GROUP BY campaign.id

-- name: run_counts
-- Counts each campaign's runs of learning, with their seconds in all and of the newest.
SELECT
    campaign.name AS campaign, run.job, run.outcome, count(*) AS runs, sum(run.seconds) AS seconds,
    (array_agg(run.seconds ORDER BY run.id DESC))[1] AS latest
FROM learning_run AS run JOIN campaign ON campaign.id = run.campaign_id
WHERE run.outcome IS NOT NULL
GROUP BY campaign.name, run.job, run.outcome

-- name: job_ages
-- Counts the jobs that did not succeed, and how long in seconds the oldest of those that wait or go on has been due.
SELECT
    job.queue_name AS queue, job.task_name AS task, job.status::text AS status, count(*) AS jobs,
    CASE WHEN job.status IN ('todo', 'doing')
        THEN greatest(extract(epoch FROM now() - min(coalesce(job.scheduled_at, asked.at))), 0)
    END AS oldest
FROM procrastinate_jobs AS job
LEFT JOIN LATERAL (
    SELECT min(at) AS at FROM procrastinate_events WHERE job_id = job.id AND type = 'deferred'
) AS asked ON true
WHERE job.status IN ('todo', 'doing', 'failed')
GROUP BY job.queue_name, job.task_name, job.status

-- name: worker_ages
-- Gives the seconds since each worker gave a sign of life.
SELECT id AS worker, extract(epoch FROM now() - last_heartbeat) AS age FROM procrastinate_workers

-- name: failed_jobs
-- Lists the jobs that were given up, each with the campaign it was for, if it was for one.
SELECT job.id, job.task_name, campaign.id AS campaign_id, campaign.name AS campaign
FROM procrastinate_jobs AS job
LEFT JOIN campaign ON campaign.id::text = job.args->>'campaign_id'
WHERE job.status = 'failed'
ORDER BY job.id

-- name: forget_failed_jobs
-- Removes jobs that were given up.
DELETE FROM procrastinate_jobs WHERE status = 'failed' AND id = ANY(%(ids)s)

-- name: clock
-- Tells what time the database server has.
SELECT clock_timestamp() AS now

-- name: vector_files
-- Names the files of vectors that campaigns read beside stamps; an older schema, which knows none, is asked too.
SELECT DISTINCT file.name FROM campaign, jsonb_array_elements_text(to_jsonb(campaign) -> 'columns') AS file (name)
WHERE file.name LIKE '%%.npy'

-- name: kept_campaigns
-- Lists all campaigns by name, with how many tasks and label events each has; any version of the schema has these tables.
SELECT
    campaign.name, campaign.state,
    (SELECT count(*) FROM task WHERE task.campaign_id = campaign.id AND NOT task.deleted) AS tasks,
    (SELECT count(*) FROM label_event WHERE label_event.campaign_id = campaign.id AND action <> 'deleted') AS labels
FROM campaign
ORDER BY campaign.name

-- name: forget_embedding_jobs
-- Drops jobs that embed ranges of a file: they name it by a path of another host.
DELETE FROM procrastinate_jobs WHERE task_name = 'pool:embed' AND status <> 'succeeded'
