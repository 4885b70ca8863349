BEGIN TRANSACTION;
CREATE TABLE metadata (
    key TEXT PRIMARY KEY,
    body BLOB NOT NULL,             -- deflated
    sha256 TEXT NOT NULL,           -- of the body before deflating
    source TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "metadata" VALUES('sha256=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',X'789CF34D2D494C492C49D40D4B2D2ACECCCFB35230D233E4F24BCC4DB55228C92F4ACEE04296D033D04E2E353432E4020001FF10FF','a4193579d415918074c3a4446041917ca6ac8c5c44c357fd4dfc2066322a436e','sidecar');
CREATE TABLE observation (
    id INTEGER PRIMARY KEY,
    page INTEGER NOT NULL REFERENCES page (id),
    path TEXT NOT NULL,
    filename TEXT NOT NULL,
    url TEXT NOT NULL,
    sha256 TEXT,
    metadata_sha256 TEXT,
    has_metadata INTEGER NOT NULL,
    requires_python TEXT,
    yanked TEXT,
    upload_time TEXT,
    size INTEGER,
    first_seen TEXT NOT NULL,
    last_seen TEXT,                 -- NULL while the page still says so: then it is the page's last_fetched
    ended TEXT                      -- when the page was found to say something else, or nothing
) STRICT;
INSERT INTO "observation" VALUES(1,2,'/whl/cu121/torch-2.1.0+cu121-cp310-cp310-linux_x86_64.whl','torch-2.1.0+cu121-cp310-cp310-linux_x86_64.whl','https://upstream.invalid/whl/cu121/torch-2.1.0%2Bcu121-cp310-cp310-linux_x86_64.whl','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',NULL,0,NULL,NULL,NULL,NULL,'2023-10-05T00:00:00Z','2023-10-05T00:00:00Z','2023-11-16T00:00:00Z');
INSERT INTO "observation" VALUES(2,2,'/whl/cu121/torch-2.1.1+cu121-cp310-cp310-linux_x86_64.whl','torch-2.1.1+cu121-cp310-cp310-linux_x86_64.whl','https://upstream.invalid/whl/cu121/torch-2.1.1%2Bcu121-cp310-cp310-linux_x86_64.whl','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb',NULL,0,NULL,NULL,'2023-11-15T00:00:00Z',12,'2023-11-16T00:00:00Z',NULL,NULL);
CREATE TABLE page (
    id INTEGER PRIMARY KEY,
    url TEXT NOT NULL UNIQUE,       -- as asked for, without credentials
    final_url TEXT NOT NULL,        -- after redirects: what its links are relative to
    kind TEXT,                      -- NULL while absent
    etag TEXT,
    last_modified TEXT,
    body_sha256 TEXT,
    parser INTEGER,                 -- the version of the parser that read it
    first_fetched TEXT NOT NULL,    -- all times: ISO 8601 in UTC
    last_fetched TEXT NOT NULL      -- the last time that upstream said or confirmed it
) STRICT;
INSERT INTO "page" VALUES(1,'https://upstream.invalid/whl/','https://upstream.invalid/whl/','project-list',NULL,NULL,'0000000000000000000000000000000000000000000000000000000000000000',1,'2023-10-05T00:00:00Z','2023-10-05T00:00:00Z');
INSERT INTO "page" VALUES(2,'https://upstream.invalid/whl/cu121/torch/','https://upstream.invalid/whl/cu121/torch/','files','"two"',NULL,'2222222222222222222222222222222222222222222222222222222222222222',1,'2023-10-05T00:00:00Z','2023-11-16T00:00:00Z');
CREATE TABLE project (
    page INTEGER NOT NULL REFERENCES page (id),
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    first_seen TEXT NOT NULL,
    ended TEXT,
    PRIMARY KEY (page, name)
) STRICT, WITHOUT ROWID;
INSERT INTO "project" VALUES(1,'torch',0,'2023-10-05T00:00:00Z',NULL);
INSERT INTO "project" VALUES(1,'torchvision',1,'2023-10-05T00:00:00Z',NULL);
CREATE TABLE rejected (
    page INTEGER NOT NULL REFERENCES page (id),
    href TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX observation_of_page ON observation (page, ended);
CREATE INDEX observation_of_path ON observation (path);
CREATE VIEW saying AS
    SELECT page.url AS page_url, path, filename, observation.url, sha256, metadata_sha256, has_metadata,
           requires_python, yanked, upload_time, size, first_seen,
           coalesce(last_seen, page.last_fetched) AS last_seen, ended, observation.id AS id
    FROM observation JOIN page ON page.id = observation.page;
CREATE INDEX rejected_of_page ON rejected (page);
COMMIT;
PRAGMA application_id=1349799782;
PRAGMA user_version=1;
