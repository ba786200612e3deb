-- Names in mixed case, uuids ordered by time, and a name that YAML would take for something else.
create table "Member" ("userId" uuid not null, "conversationId" uuid not null, "unreadCount" int not null default 0, primary key ("userId", "conversationId"));
create table "Message" (id uuid primary key, "ownerId" uuid not null, "conversationId" uuid not null, "senderId" uuid not null, body text not null, "createdAt" timestamp(3) not null);
create index on "Message" ("ownerId", "conversationId", "createdAt");
create table "yes" ("messageId" uuid not null references "Message" on delete cascade, primary key ("messageId"));
