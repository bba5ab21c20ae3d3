CREATE TABLE notes (
    id    uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    title text NOT NULL,
    body  text NOT NULL
);
INSERT INTO notes (title, body) VALUES
    ('Bread', 'Flour, water, salt, a night of patience.'),
    ('Bicycle', 'The chain slips in third gear; look at the derailleur.'),
    ('Garden', 'Beans go beside the fence once there is no more frost.');
