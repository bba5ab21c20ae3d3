CREATE TABLE sentences (
    id       integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    language text NOT NULL,
    body     text NOT NULL
);
INSERT INTO sentences (language, body) VALUES
    ('de', 'Der Zug nach Wien fährt um acht Uhr ab.'),
    ('fr', 'La boulangerie ouvre à six heures du matin.'),
    ('es', 'El museo está cerrado los lunes.'),
    ('it', 'La farmacia è accanto alla stazione.'),
    ('en', 'The library lends bicycles, too.'),
    ('ja', '図書館は九時に開きます。');
