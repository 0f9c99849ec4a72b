-- Label Studio's own tables (1.23): what a project tells its annotators.
UPDATE project SET expert_instruction = %(text)s WHERE id = %(project)s
