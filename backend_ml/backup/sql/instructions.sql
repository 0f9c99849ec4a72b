-- Label Studio's own tables (1.23): what some projects tell their annotators.
SELECT id, expert_instruction FROM project WHERE id = ANY(%(projects)s) AND expert_instruction IS NOT NULL
