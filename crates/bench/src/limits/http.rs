//! The limit of reading one profile: a bare actix handler that returns the same bytes, or that reads the one row by sqlx.
//!
//! It runs in a process of its own, as the real server does, so both leave the same share of the machine to the client.

use std::{io::Read, path::Path};

use actix_web::{App, HttpResponse, HttpServer, http::header::ContentType, web};
use clap::ValueEnum;
use sqlx::{PgPool, SqlitePool, postgres::PgPoolOptions, sqlite::SqlitePoolOptions};
use uuid::Uuid;

use crate::{Result, database::sqlite_options};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The bytes of `--body`, whoever is asked for.
    Bare,
    /// The document of the asked one, read from `--database`.
    Row,
}

/// Connections of the pool: more than cores, since a statement waits for the driver's thread.
const POOL: u32 = 8;
const DOCUMENT: &str = "
SELECT document
FROM profile_documents
WHERE workspace_id = $1 AND profile_id = $2";

#[derive(Clone)]
enum Source {
    Bytes(web::Bytes),
    Sqlite(SqlitePool, Uuid),
    Postgres(PgPool, Uuid),
}

impl Source {
    async fn open(mode: Mode, database: Option<&str>, workspace: Option<Uuid>, body: Option<&Path>) -> Result<Self> {
        if mode == Mode::Bare {
            return Ok(Self::Bytes(std::fs::read(body.ok_or("--body is needed for bare")?)?.into()));
        }
        let (url, workspace) = database.zip(workspace).ok_or("--database and --workspace are needed for row")?;
        Ok(if url.starts_with("sqlite:") {
            let options = SqlitePoolOptions::new().min_connections(POOL).max_connections(POOL).test_before_acquire(false);
            Self::Sqlite(options.connect_with(sqlite_options(url)?).await?, workspace)
        } else {
            let options = PgPoolOptions::new().min_connections(POOL).max_connections(POOL).test_before_acquire(false);
            Self::Postgres(options.connect(url).await?, workspace)
        })
    }

    async fn document(&self, id: Uuid) -> sqlx::Result<Option<web::Bytes>> {
        let document: Option<String> = match self {
            Self::Bytes(bytes) => return Ok(Some(bytes.clone())),
            Self::Sqlite(pool, workspace) => sqlx::query_scalar(DOCUMENT).bind(*workspace).bind(id).fetch_optional(pool).await?,
            Self::Postgres(pool, workspace) => sqlx::query_scalar(DOCUMENT).bind(*workspace).bind(id).fetch_optional(pool).await?,
        };
        Ok(document.map(Into::into))
    }
}

async fn read(source: web::Data<Source>, id: web::Path<Uuid>) -> HttpResponse {
    match source.document(*id).await {
        Ok(Some(document)) => HttpResponse::Ok().content_type(ContentType::json()).body(document),
        Ok(None) => HttpResponse::NotFound().finish(),
        Err(e) => HttpResponse::InternalServerError().body(e.to_string()),
    }
}

/// Serves `GET /v1/profiles/{id}` until standard input ends, that is, until the process that started it is gone.
#[expect(clippy::print_stdout, reason = "the address is read from standard output")]
pub fn serve(mode: Mode, database: Option<&str>, workspace: Option<Uuid>, body: Option<&Path>) -> Result<()> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    actix_web::rt::System::new().block_on(async move {
        let source = web::Data::new(Source::open(mode, database, workspace, body).await?);
        let server = HttpServer::new(move || App::new().app_data(source.clone()).route("/v1/profiles/{id}", web::get().to(read)))
            .bind(("127.0.0.1", 0))?;
        for address in server.addrs() {
            println!("listening on http://{address}");
        }
        Ok(server.run().await?)
    })
}
