-- A database of its own for each target.
CREATE DATABASE profiles;
CREATE DATABASE content;
CREATE DATABASE decisioning;
CREATE DATABASE journeys;
CREATE DATABASE delivery;
CREATE DATABASE feedback;
CREATE DATABASE kpis;
CREATE DATABASE audit;
CREATE DATABASE gateway;
