-- One row is a removed interaction, with its title and why it was removed.
CREATE OR REPLACE VIEW removed_interactions AS
SELECT * EXCLUDE (decision)
FROM explained_interactions
WHERE decision = 'remove';

COMMENT ON VIEW removed_interactions IS
'One row is a removed interaction, with its title and why it was removed.';
