-- Tables as Prisma's migrations write them for copies, with what three owners have of three conversations: for the tests.
create table "Member" (
  "userId" uuid not null, "conversationId" uuid not null, "unreadCount" integer not null default 0, "joinedAt" timestamp(3) not null default current_timestamp,
  constraint "Member_pkey" primary key ("userId", "conversationId"));
create table "Message" (
  "id" uuid not null default gen_random_uuid(), "ownerId" uuid not null, "conversationId" uuid not null, "senderId" uuid not null, "body" text not null,
  "createdAt" timestamp(3) not null default current_timestamp, constraint "Message_pkey" primary key ("id"));
create index "Message_ownerId_conversationId_createdAt_idx" on "Message" ("ownerId", "conversationId", "createdAt");
create table "Attachment" ("id" uuid not null default gen_random_uuid(), "messageId" uuid not null, "url" text not null, constraint "Attachment_pkey" primary key ("id"));
create index "Attachment_messageId_idx" on "Attachment" ("messageId");
create table "Reaction" ("messageId" uuid not null, "userId" uuid not null, "emoji" text not null, constraint "Reaction_pkey" primary key ("messageId", "userId", "emoji"));
alter table "Attachment" add constraint "Attachment_messageId_fkey" foreign key ("messageId") references "Message" ("id") on delete restrict on update cascade;
alter table "Reaction" add constraint "Reaction_messageId_fkey" foreign key ("messageId") references "Message" ("id") on delete cascade on update cascade;

insert into "Member" ("userId", "conversationId", "unreadCount")
select ('00000000-0000-4000-8000-00000000000' || u)::uuid, ('00000000-0000-4000-8000-00000000001' || c)::uuid, 9 from generate_series(1, 3) u, generate_series(1, 3) c;
insert into "Message" ("ownerId", "conversationId", "senderId", "body", "createdAt")
select "userId", "conversationId", "userId", 'text ' || i, (now() at time zone 'UTC') - (40 - i) * interval '1 minute' from "Member", generate_series(1, 12) i;
insert into "Attachment" ("messageId", "url") select "id", 's3://bucket/' || "id" from "Message" where "body" like '%5';
insert into "Reaction" ("messageId", "userId", "emoji") select "id", "ownerId", '+1' from "Message" where "body" like '%3';
